"""CPU of a request on the fast path, with and without a key or token.

Each gate stands before the same model in one process, without sockets. Rounds alternate, and each figure is
the least of its rounds, which other processes of the machine disturb the least.
"""

import asyncio
import json
import time
from contextlib import AsyncExitStack

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm
from tests.integration.server.protocols.test_fast_path_differential import Side, Transport, side
from tests.support.tenants.callers import gate_of

from benchmarks.trust.options import Options
from tenantry_server.access.gate import Gate
from tenantry_server.access.hops import Hops
from tenantry_server.access.tokens import TokenRules, Tokens

ROUNDS, REQUESTS = 60, 1_000
TARGET_US = 3.0
HOST = "here:80"
BODY = b'[{"a": 1, "b": 2}]'


def request(lines: bytes) -> bytes:
    head = b"POST /predict/ann HTTP/1.1\r\nHost: here\r\n%bContent-Length: %d\r\n\r\n"
    return head % (lines, len(BODY)) + BODY


def issued() -> tuple[Tokens, str]:
    """An issuer's keys, and a token of it."""
    signing = ec.generate_private_key(ec.SECP256R1())
    jwks = {"keys": [{**ECAlgorithm.to_jwk(signing.public_key(), as_dict=True), "kid": "1"}]}
    tokens = Tokens(TokenRules("issuer", "tenantry", ""), lambda _: json.dumps(jwks).encode())
    claims = {"iss": "issuer", "aud": "tenantry", "sub": "ann", "exp": time.time() + 3600}
    return tokens, jwt.encode(claims, signing, "ES256", headers={"kid": "1"})


def run(_given: Options) -> None:
    """Measure, and print a line for each way to be admitted."""
    asyncio.run(_race())


async def _race() -> None:
    tokens, token = issued()
    key = "tnt_0123abcd_" + "k" * 43
    hops = Hops("secret", HOST)
    guarded = gate_of({"key": ("*",), key: ("ann", "store-*")}, hops, tokens)
    ways: dict[str, tuple[Gate | None, bytes]] = {
        "no gate": (None, b""),
        "no gate, a header": (None, b"Authorization: Bearer %b\r\n" % key.encode()),
        "a key": (guarded, b"Authorization: Bearer %b\r\n" % key.encode()),
        "a token": (guarded, b"Authorization: Bearer %b\r\n" % token.encode()),
        "a proof of a server": (
            guarded,
            hops.line(HOST.encode(), b"POST", b"/predict/ann", b"%d" % len(BODY)),
        ),
    }
    least = dict.fromkeys(ways, float("inf"))
    async with AsyncExitStack() as stack:
        gates: dict[Gate | None, Side] = {None: await stack.enter_async_context(side(fast=True, gate=None))}
        gates[guarded] = await stack.enter_async_context(side(fast=True, gate=guarded))
        wires = {name: Transport(gates[gate].server()) for name, (gate, _) in ways.items()}
        for name, (gate, lines) in ways.items():
            await gates[gate].said([request(lines)], at_once=False)  # verified, and its head known
            await asyncio.sleep(0)
            assert wires[name].written == b""
        for _ in range(ROUNDS):
            for name, (_, lines) in ways.items():
                wire, sent = wires[name], request(lines)
                began_s = time.process_time()
                for _ in range(REQUESTS):
                    wire.protocol.data_received(sent)
                took_s = time.process_time() - began_s
                answered = wire.written.count(b"HTTP/1.1 200 OK")
                assert answered == REQUESTS, f"{name}: the fast path answered {answered}"
                wire.written.clear()
                least[name] = min(least[name], took_s / REQUESTS * 1e6)
        for wire in wires.values():
            wire.close()
    for name, took_us in least.items():
        print(f"{name:22} {took_us:6.2f} us  {took_us - least['no gate, a header']:+6.2f} us")
    print(f"target: at most +{TARGET_US:g} us for a key or a remembered token")
