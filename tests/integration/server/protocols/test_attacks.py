"""Callers with keys and tokens of their own, who ask for others in every way that a request can be spelt.

Three servers, each of which holds some of the users, so that requests are passed on.
TENANTRY_ATTACK_REQUESTS asks for more of them than the gate has time for.
"""

import asyncio
import json
import os
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from tenantry_server.access.gate import Gate
from tenantry_server.access.hops import Hops
from tenantry_server.access.tokens import TokenRules, Tokens
from tenantry_server.toys import SumModel
from tests.support.processes import cluster
from tests.support.processes.cluster import Cluster
from tests.support.tenants.callers import gate_of

REQUESTS = int(os.environ.get("TENANTRY_ATTACK_REQUESTS", "20000"))
CLIENTS = 4
OWN_SHARE = 0.1  # of requests that are to be answered
PLAIN_SHARE = 0.3  # of attacks: such as the fast path answers, and passes on, past the application
SIGNING = ec.generate_private_key(ec.SECP256R1())
HOLDERS = {"ann": "a", "bob": "b", "cid": "c", "dora-1": "a", "dora-2": "b"}
MARKERS = {user_id: 7_000_001 + 11_111 * number for number, user_id in enumerate(HOLDERS)}
OWN = {"ann": ("ann",), "bob": ("bob",), "cid": ("cid",), "dora-*": ("dora-1", "dora-2")}
PATHS = (
    "/predict/{}",
    "/v1/models/{}:predict",
    "/v2/models/{}/infer",
    "/v2/models/{}/versions/1/infer",
    "/cards/{}",
    "/v1/models/{}",
    "/v2/models/{}",
    "/v2/models/{}/ready",
    "/forecast/{}?horizon=1",
    "/openapi.json?user={}",
    "/v2/repository/models/{}/load",
    "/v2/repository/models/{}/unload",
    "/v2/repository/index",
    "/v1/models",
    "/v1/timeseries/models",
    "/v1/timeseries/forecast",
    "/peers/kernels",
    "/workers",
    "/metrics",
)

ROWS = b'{"instances": [[0, 0]]}'
TENSORS = b'{"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP64", "data": [0, 0]}]}'
PLAIN = ((PATHS[0], ROWS), (PATHS[1], ROWS), (PATHS[2], TENSORS))


class Quick(SumModel):
    """Says that it only computes, so that the fast path answers it."""

    may_block = False

    def predict_rows(self, rows: Any) -> Any:
        return rows.sum(axis=1) + self.plus


def gate(hops: Hops | None) -> Gate:
    jwks = {"keys": [{**ECAlgorithm.to_jwk(SIGNING.public_key(), as_dict=True), "kid": "1"}]}
    rules = TokenRules("issuer", "tenantry", "")
    tokens = Tokens(rules, lambda _: json.dumps(jwks).encode())
    return gate_of({f"key-of-{name}": (name,) for name in OWN}, hops, tokens)


def token_of(user_id: str) -> str:
    claims = {"iss": "issuer", "aud": "tenantry", "sub": user_id, "exp": time.time() + 86_400}
    return jwt.encode(claims, SIGNING, "ES256", headers={"kid": "1"})


@dataclass
class Attacker:
    """Asks for others, and now and then for its own users.

    Attributes:
        seen: how many answers of each status there were to attacks.
        passed_on: how many answers to its own requests came from another server than was asked.
    """

    servers: Cluster
    seed: int
    seen: Counter[int] = field(default_factory=Counter)
    passed_on: int = 0

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)  # noqa: S311 - to be repeated
        self.tokens = {user_id: token_of(user_id) for user_id in ("ann", "bob", "cid")}

    async def attack(self, count: int) -> None:
        for _ in range(count):
            name = self.chance.choice(list(OWN))
            if self.chance.random() < OWN_SHARE:
                await self.asks_own(name)
            else:
                await self.asks_another(name)

    async def asks_own(self, name: str) -> None:
        user_id = self.chance.choice(OWN[name])
        path, body = self.chance.choice(PLAIN)
        head = self.head("POST", path.format(user_id), body, [self.shown(name)])
        status, answered, server = await self.said(head + body)
        if status != 200:  # on a machine so slow that servers take one another for dead
            assert status in (500, 503, 504), answered
            return
        assert str(MARKERS[user_id]).encode() in answered, head
        self.passed_on += server

    async def asks_another(self, name: str) -> None:
        victim = self.chance.choice([user_id for user_id in HOLDERS if user_id not in OWN[name]])
        if self.chance.random() < PLAIN_SHARE:
            path, body = self.chance.choice(PLAIN)
            head = self.head("POST", path.format(victim), body, [self.shown(name)])
        else:
            path = self.spelt(self.chance.choice(PATHS), victim, OWN[name][0])
            body = self.body(victim)
            method = self.chance.choice(("POST", "POST", "POST", "GET"))
            head = self.head(method, path, body, [self.shown(name), *self.more(name, victim)])
        status, answered, _ = await self.said(head + body)
        self.seen[status] += 1
        sent = head + body
        for user_id, marker in MARKERS.items():
            assert user_id in OWN[name] or str(marker).encode() not in answered, sent
        assert status >= 400 or status == 200, sent
        own = any(str(MARKERS[user_id]).encode() in answered for user_id in OWN[name])
        assert status != 200 or own or (b'"ready"' in answered and victim.encode() not in answered), (
            sent,
            answered,
        )

    def spelt(self, path: str, victim: str, own: str) -> str:
        chance = self.chance
        names = (
            victim,
            victim,
            f"%{ord(victim[0]):02x}{victim[1:]}",
            victim[:-1] + f"%{ord(victim[-1]):02X}",
            f"{own}/../{victim}",
            f"{own}%2f..%2f{victim}",
            f"{own},{victim}",
            f"{own}%00{victim}",
            f"{own}:{victim}",
            f"{victim}:{own}",
            f"{victim};{own}",
            f"{victim}?user_id={own}",
            f"{victim}#{own}",
            f"%25{ord(victim[0]):02x}{victim[1:]}",
            victim.upper(),
            f"{victim}%20",
            f"{victim}/",
        )
        made = path.format(chance.choice(names)) if "{}" in path else path
        how = chance.randrange(12)
        if how == 0:
            return "/" + made
        if how == 1:
            return f"http://here{made}"
        if how == 2:
            return f"/predict/{own}/../..{made}"
        if how == 3:
            return made.replace("/", "/./", 1)
        if how == 4:
            at = chance.randrange(1, len(made))
            return f"{made[:at]}%{ord(made[at]):02x}{made[at + 1 :]}"
        return made

    def body(self, victim: str) -> bytes:
        series = {"type": "univariate_time_series", "name": "x", "frequency": "D", "series": [1.0]}
        forecast = {"model": victim, "inputs": [series], "options": {"horizon": 1}}
        bodies: Sequence[Any] = (
            {"instances": [[0, 0]]},
            {"instances": [[0, 0]], "user": victim, "user_id": victim, "model": victim},
            {
                "inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP64", "data": [0, 0]}],
                "model_name": victim,
            },
            forecast,
            {"models": [victim]},
            {},
        )
        return json.dumps(self.chance.choice(bodies)).encode()

    def shown(self, name: str) -> str:
        if name in self.tokens and self.chance.random() < 0.4:
            return f"Authorization: Bearer {self.tokens[name]}"
        return f"Authorization: Bearer key-of-{name}"

    def more(self, name: str, victim: str) -> list[str]:
        chance = self.chance
        return chance.choice(
            (
                [],
                [],
                ["Tenantry-Hop: a"],
                ["Tenantry-Hop: b", f"Tenantry-Proof: {int(time.time() * 1e3)} {'0' * 64}"],
                [f"Authorization: Bearer key-of-{name}"],
                ["Authorization: Bearer key-of-nobody"],
                [f"X-Original-URL: /predict/{victim}", f"X-Forwarded-User: {victim}"],
                ["Tenantry-Fresh: required"],
                ["Tenantry-Timeout-Ms: 5000"],
                [f"traceparent: {chance.random()}"],
                ["Cookie: key=key-of-" + victim],
                ["X-HTTP-Method-Override: GET"],
            )
        )

    def head(self, method: str, path: str, body: bytes, lines: list[str]) -> bytes:
        return "\r\n".join(
            [f"{method} {path} HTTP/1.1", "Host: here", *lines, f"Content-Length: {len(body)}", "", ""]
        ).encode()

    async def said(self, sent: bytes) -> tuple[int, bytes, bool]:
        """Send one request to any of the servers.

        Returns:
            status and body, and whether another server answered.
        """
        reader, writer = self._open.pop() if self._open else await self._connected()
        async with asyncio.timeout(180):
            writer.write(sent)
            head = await reader.readuntil(b"\r\n\r\n")
            lines = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
            body = await reader.readexactly(int(lines.get(b"content-length", b"0")))
        if lines.get(b"connection") == b"close":
            writer.close()
        else:
            self._open.append((reader, writer))
            self.chance.shuffle(self._open)
        return int(head[9:12]), head + body, b"tenantry-hop" in lines

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        node = self.servers[self.chance.choice("abc")]
        return await asyncio.open_connection("127.0.0.1", node.port)

    _open: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = field(default_factory=list)

    async def opened(self) -> None:
        """One connection to each server."""
        for name in "abc":
            self._open.append(await asyncio.open_connection("127.0.0.1", self.servers[name].port))

    def close(self) -> None:
        for _, writer in self._open:
            writer.close()


async def test_no_caller_is_answered_for_another() -> None:
    models = {user_id: lambda marker=marker: Quick(marker) for user_id, marker in MARKERS.items()}
    settings: dict[str, Any] = {"secret": "of the fleet", "gate": gate, "predict_timeout_s": 60.0}
    async with cluster.running(models, HOLDERS, **settings) as servers:
        attackers = [Attacker(servers, seed) for seed in range(CLIENTS)]
        for attacker in attackers:
            await attacker.opened()
        try:
            await asyncio.gather(*(attacker.attack(REQUESTS // CLIENTS) for attacker in attackers))
        finally:
            for attacker in attackers:
                attacker.close()
        seen = sum((attacker.seen for attacker in attackers), Counter[int]())
        assert seen[401] > 0, seen
        assert seen[403] > REQUESTS / 10, seen
        assert sum(attacker.passed_on for attacker in attackers) > 0
