"""Callers with keys and tokens of their own, who ask for others in every way that a request can be spelt.

Owns the requests, and the judgement on each answer. Refuses to say how many there are, and by whom.
"""

import asyncio
import json
import random
import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from tenantry.placement import shard_of
from tenantry_server.access.gate import Gate
from tenantry_server.access.hops import Hops
from tenantry_server.access.tokens import TokenRules, Tokens
from tenantry_server.toys import SumModel
from tests.support.processes.cluster import Cluster
from tests.support.tenants.callers import gate_of

OWN_SHARE = 0.1  # of requests that are to be answered
PLAIN_SHARE = 0.3  # of attacks: such as the fast path answers, and passes on, past the application
FORGED_SHARE = 0.1
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
    "/predict",
    "/predict?user_column=who",
    "/forecast",
    "/v2/repository/models/{}/load",
    "/v2/repository/models/{}/unload",
    "/v2/repository/index",
    "/v1/models",
    "/v1/timeseries/models",
    "/v1/timeseries/forecast",
    "/peers/kernels",
    "/workers",
    "/metrics",
    "/tenants/top",
)
ROWS = b'{"instances": [[0, 0]]}'
TENSORS = b'{"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP64", "data": [0, 0]}]}'
PLAIN = ((PATHS[0], ROWS), (PATHS[1], ROWS), (PATHS[2], TENSORS))
_MARKER = re.compile(rb"\d{7,}")
_SIGNING, _STRANGERS = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))


class Quick(SumModel):
    """Says that it only computes, so that the fast path answers it; adds a number that names its user."""

    may_block = False

    def predict_rows(self, rows: Any) -> Any:
        return rows.sum(axis=1) + self.plus


class Tenants:
    """Users of as many shards, and callers each of whom has a key and a token for one or two of them.

    Attributes:
        own: the pattern that a caller's key covers -> the caller's users.
        holders: user id -> the server that holds the user's model.
        markers: user id -> the number that the user's model answers for rows of zeros.
        tokens: user id -> a token.
    """

    def __init__(self, users: int) -> None:
        self.own: dict[str, tuple[str, ...]] = {}
        shards: set[int] = set()  # the cluster wants one user a shard
        for number in count():
            pattern = f"store-{number:05}"
            names: tuple[str, ...] = (pattern,)
            if number % 10 == 0:
                pattern, names = f"pair-{number:05}-*", (f"pair-{number:05}-1", f"pair-{number:05}-2")
            theirs = {shard_of(name) for name in names}
            if len(theirs) == len(names) and not theirs & shards:
                shards |= theirs
                self.own[pattern] = names
            if len(shards) >= users:
                break
        everyone = [name for names in self.own.values() for name in names]
        self.holders = {name: "abc"[place % 3] for place, name in enumerate(everyone)}
        self.markers = {name: 7_000_001 + 11_111 * place for place, name in enumerate(everyone)}
        self.tokens = {name: _token(name) for name in everyone}

    @property
    def models(self) -> dict[str, Any]:
        """As `cluster.running` takes them."""
        return {name: partial(Quick, marker) for name, marker in self.markers.items()}

    def gate(self, hops: Hops | None) -> Gate:
        """What admits each caller, and nobody else."""
        jwks = {"keys": [{**ECAlgorithm.to_jwk(_SIGNING.public_key(), as_dict=True), "kid": "1"}]}
        tokens = Tokens(TokenRules("issuer", "tenantry", ""), lambda _: json.dumps(jwks).encode())
        return gate_of({f"key-of-{pattern}": (pattern,) for pattern in self.own}, hops, tokens)


def _token(user_id: str, *, by: ec.EllipticCurvePrivateKey = _SIGNING, **other: Any) -> str:
    claims = {"iss": "issuer", "aud": "tenantry", "sub": user_id, "exp": time.time() + 86_400, **other}
    return jwt.encode(claims, by, "ES256", headers={"kid": "1"})


@dataclass
class Attacker:
    """Asks for others, and now and then for its own users.

    Attributes:
        seen: how many answers of each status there were to attacks.
        own_seen: the same for its own users.
        passed_on: how many answers to its own requests came from another server than was asked.
    """

    servers: Cluster
    tenants: Tenants
    seed: int
    seen: Counter[int] = field(default_factory=Counter)
    own_seen: Counter[int] = field(default_factory=Counter)
    passed_on: int = 0
    _open: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)  # noqa: S311 - to be repeated
        self._callers = list(self.tenants.own)
        self._users = list(self.tenants.holders)
        self._by_marker = {str(marker).encode(): name for name, marker in self.tenants.markers.items()}

    async def attack(self, requests: int) -> None:
        """Send so many requests, one after the other.

        Raises:
            AssertionError: one was answered that must not be, or with another user's number.
        """
        for name in "abc":
            self._open.append(await asyncio.open_connection("127.0.0.1", self.servers[name].port))
        try:
            for _ in range(requests):
                caller = self.chance.choice(self._callers)
                if self.chance.random() < OWN_SHARE:
                    await self._ask_own(caller)
                else:
                    await self._ask_another(caller)
        finally:
            for _, writer in self._open:
                writer.close()

    async def _ask_own(self, caller: str) -> None:
        user_id = self.chance.choice(self.tenants.own[caller])
        rows = json.dumps({"rows": [{"user_id": user_id, "a": 0, "b": 0}] * 2}).encode()
        path, body = self.chance.choice((*PLAIN, ("/predict", rows)))
        head = self._head("POST", path.format(user_id), body, [self._shown(caller, user_id)])
        status, answered, server = await self._said(head + body)
        self.own_seen[status] += 1
        if status == 200:
            assert self._named_in(answered) == {user_id}, (head, answered)
            self.passed_on += server

    async def _ask_another(self, caller: str) -> None:
        chance, own = self.chance, self.tenants.own[caller]
        victim = own[0]
        while victim in own:
            victim = chance.choice(self._users)
        shown = self._shown(caller, own[0])
        if chance.random() < FORGED_SHARE:
            shown, own = self._forged(victim), ()
        if chance.random() < PLAIN_SHARE:
            path, body = chance.choice(PLAIN)
            head = self._head("POST", path.format(victim), body, [shown])
        else:
            mine = self.tenants.own[caller][0]
            path = self._spelt(chance.choice(PATHS), victim, mine)
            body = self._body(victim, mine)
            method = chance.choice(("POST", "POST", "POST", "GET"))
            head = self._head(method, path, body, [shown, *self._more(caller, victim)])
        status, answered, _ = await self._said(head + body)
        self.seen[status] += 1
        self._judge(status, answered, set(own), victim, head + body)

    def _judge(self, status: int, answered: bytes, own: set[str], victim: str, sent: bytes) -> None:
        """Anything but a refusal is about the caller's own users, or about nobody."""
        named = self._named_in(answered)
        assert named <= own, (sent, answered)
        assert status >= 400 or status == 200, (sent, answered)
        if status == 200 and not named:
            rows = b'"errors":[{', b':null,"error":'  # each of a batch is refused by itself
            refused = any(row in answered for row in rows)
            assert refused or (b'"ready"' in answered and victim.encode() not in answered), (sent, answered)

    def _named_in(self, answered: bytes) -> set[str]:
        """Whose numbers stand in an answer."""
        found = (self._by_marker.get(number) for number in _MARKER.findall(answered))
        return {name for name in found if name is not None}

    def _spelt(self, path: str, victim: str, own: str) -> str:
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

    def _body(self, victim: str, own: str) -> bytes:
        series = {"type": "univariate_time_series", "name": "x", "frequency": "D", "series": [1.0]}
        forecast = {"model": victim, "inputs": [series], "options": {"horizon": 1}}
        row = {"a": 0, "b": 0}
        bodies: Sequence[Any] = (
            {"instances": [[0, 0]]},
            {"instances": [[0, 0]], "user": victim, "user_id": victim, "model": victim},
            {
                "inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP64", "data": [0, 0]}],
                "model_name": victim,
            },
            forecast,
            {"models": [victim]},
            {"rows": [{"user_id": victim, **row}]},
            {"rows": [{"user_id": name, **row} for name in (victim, own, victim)]},
            {"rows": [{"who": victim, "user_id": own, **row}]},
            {"numbers": [7], "rows": [{"user_id": victim, **row}]},
            {},
        )
        return json.dumps(self.chance.choice(bodies)).encode()

    def _shown(self, caller: str, user_id: str) -> str:
        """The caller's key, or the token of one of the caller's users."""
        if self.chance.random() < 0.4:
            return f"Authorization: Bearer {self.tenants.tokens[user_id]}"
        return f"Authorization: Bearer key-of-{caller}"

    def _forged(self, victim: str) -> str:
        """What looks like the victim's, and is not."""
        chance = self.chance
        how = chance.randrange(6)
        if how == 0:
            return f"Authorization: Bearer {_token(victim, by=_STRANGERS)}"
        if how == 1:
            return f"Authorization: Bearer {_token(victim, exp=1)}"
        if how == 2:
            return f"Authorization: Bearer {_token(victim, aud=chance.choice(('x', 'Tenantry')))}"
        if how == 3:
            claims = {"iss": "issuer", "aud": "tenantry", "sub": victim, "exp": time.time() + 86_400}
            return f"Authorization: Bearer {jwt.encode(claims, '', 'none')}"
        if how == 4:
            head, _, rest = self.tenants.tokens[victim].partition(".")
            return f"Authorization: Bearer {head}.{rest.swapcase()}"
        return f"Authorization: {chance.choice(('Basic', 'Bearer '))} {victim}"

    def _more(self, caller: str, victim: str) -> list[str]:
        chance = self.chance
        return chance.choice(
            (
                [],
                [],
                ["Tenantry-Hop: a"],
                ["Tenantry-Hop: b", f"Tenantry-Proof: {int(time.time() * 1e3)} {'0' * 64}"],
                [f"Authorization: Bearer key-of-{caller}"],
                ["Authorization: Bearer key-of-nobody"],
                [f"X-Original-URL: /predict/{victim}", f"X-Forwarded-User: {victim}"],
                ["Tenantry-Fresh: required"],
                ["Tenantry-Timeout-Ms: 5000"],
                ["Content-Type: application/x-ndjson"],
                [f"traceparent: {chance.random()}"],
                ["Cookie: key=key-of-" + victim],
                ["X-HTTP-Method-Override: GET"],
            )
        )

    def _head(self, method: str, path: str, body: bytes, lines: list[str]) -> bytes:
        return "\r\n".join(
            [f"{method} {path} HTTP/1.1", "Host: here", *lines, f"Content-Length: {len(body)}", "", ""]
        ).encode()

    async def _said(self, sent: bytes) -> tuple[int, bytes, bool]:
        """Send one request to any of the servers.

        Returns:
            status, head and body, and whether another server answered.
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


async def run(
    servers: Cluster, tenants: Tenants, requests: int, *, seed: int = 0, clients: int = 4
) -> list[Attacker]:
    """Have so many requests sent by clients that take turns, and return these."""
    attackers = [Attacker(servers, tenants, seed + number) for number in range(clients)]
    await asyncio.gather(*(attacker.attack(requests // clients) for attacker in attackers))
    return attackers


SETTINGS: Mapping[str, Any] = {"secret": "of the fleet", "predict_timeout_s": 60.0}
"""Of the cluster, beside the tenants' gate."""
