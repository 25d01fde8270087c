"""JWTs: what passes, and what does not."""

import json
import re
import time
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from tenantry.errors import InvalidSetting
from tenantry_server.access.grants import Grant
from tenantry_server.access.tokens import TokenRules, Tokens

EC = ec.generate_private_key(ec.SECP256R1())
OTHER = ec.generate_private_key(ec.SECP256R1())
RSA = rsa.generate_private_key(65537, 2048)
RULES = TokenRules(issuer="https://issuer", audience="tenantry", keys="")


class Issuer:
    """Its JWKS, and how often that was read."""

    def __init__(self) -> None:
        self.keys: dict[str, Any] = {"ec": EC, "rsa": RSA}
        self.reads = 0

    def read(self, _where: str) -> bytes:
        self.reads += 1
        return json.dumps({"keys": [_jwk(kid, key) for kid, key in self.keys.items()]}).encode()


def _jwk(kid: str, key: Any) -> dict[str, Any]:
    kind = RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else ECAlgorithm
    return {**kind.to_jwk(key.public_key(), as_dict=True), "kid": kid, "use": "sig"}


def token(key: Any = EC, algorithm: str = "ES256", kid: str = "ec", **claims: Any) -> str:
    given = {"iss": "https://issuer", "aud": "tenantry", "sub": "ann", "exp": time.time() + 600} | claims
    given = {name: value for name, value in given.items() if value is not None}
    return jwt.encode(given, key, algorithm, headers={"kid": kid})


async def verified(sent: str, rules: TokenRules = RULES) -> Grant | None:
    return await Tokens(rules, Issuer().read).verify(sent)


async def test_a_token_is_for_the_user_that_it_names() -> None:
    for sent in (token(), token(RSA, "RS256", "rsa")):
        grant = await verified(sent)
        assert grant is not None
        assert grant.covers("ann")
        assert not grant.covers("anna")
        assert not grant.admin


def _public_pem() -> str:
    return RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def _hmac_with_the_public_key() -> str:
    head, body, _ = token(RSA, "RS256", "rsa").split(".")
    head = jwt.utils.base64url_encode(json.dumps({"alg": "HS256", "kid": "rsa"}).encode()).decode()
    signature = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256).sign(
        f"{head}.{body}".encode(), _public_pem().encode()
    )
    return f"{head}.{body}.{jwt.utils.base64url_encode(signature).decode()}"


REFUSED: dict[str, Callable[[], str]] = {
    "no signature": lambda: token(None, "none"),
    "hmac with a public key": _hmac_with_the_public_key,
    "another key": lambda: token(OTHER),
    "an unknown key": lambda: token(kid="other"),
    "a key of another kind": lambda: token(RSA, "RS256", "ec"),
    "an algorithm that is not pinned": lambda: token(RSA, "PS256", "rsa"),
    "another issuer": lambda: token(iss="https://other"),
    "no issuer": lambda: token(iss=None),
    "another audience": lambda: token(aud="other"),
    "no audience": lambda: token(aud=None),
    "expired": lambda: token(exp=time.time() - 60),
    "no end": lambda: token(exp=None),
    "not yet": lambda: token(nbf=time.time() + 600),
    "a claim that is not a text": lambda: token(sub=None),
    "changed": lambda: token()[:-4] + "AAAA",
    "no token": lambda: "a.b.c",
    "one word": lambda: "x",
}


@pytest.mark.parametrize("kind", REFUSED)
async def test_what_is_refused(kind: str) -> None:
    assert await verified(REFUSED[kind]()) is None


def test_only_algorithms_with_a_public_key_may_be_pinned() -> None:
    for wrong in ("HS256", "none", "RS1"):
        with pytest.raises(InvalidSetting, match="TENANTRY_JWT_ALGORITHMS"):
            Tokens(TokenRules("i", "a", "", algorithms=["RS256", wrong]))


async def test_a_service_account_may_ask_for_users_of_its_namespace() -> None:
    rules = TokenRules(
        "https://issuer",
        "tenantry",
        "",
        pattern=re.compile("system:serviceaccount:([a-z0-9-]+):[a-z0-9.-]+"),
        users=["${1}.*"],
        admin=re.compile("system:serviceaccount:monitoring:prometheus"),
    )
    grant = await verified(token(sub="system:serviceaccount:team-a:default"), rules)
    assert grant is not None
    assert grant.covers("team-a.ann")
    assert not grant.covers("team-b.ann")
    admin = await verified(token(sub="system:serviceaccount:monitoring:prometheus"), rules)
    assert admin is not None
    assert admin.admin
    assert await verified(token(sub="team-a"), rules) is None


async def test_what_a_token_says_is_no_wildcard() -> None:
    for name in ("*", "a*", ".*", "a|b"):
        grant = await verified(token(sub=name))
        assert grant is not None
        assert not grant.covers("ann")
        assert not grant.covers("b")


async def test_a_new_key_is_found_and_an_old_one_vouches_for_nobody() -> None:
    issuer = Issuer()
    tokens = Tokens(RULES, issuer.read)
    old = token()
    assert await tokens.verify(old) is not None
    issuer.keys = {"new": OTHER}
    tokens._tried_s = float("-inf")  # as five seconds later
    assert await tokens.verify(token(OTHER, kid="new")) is not None
    assert await tokens.verify(old) is None
    assert len(tokens._remembered) == 1


async def test_unknown_keys_do_not_make_it_ask_the_issuer_again_and_again() -> None:
    issuer = Issuer()
    tokens = Tokens(RULES, issuer.read)
    for number in range(20):
        assert await tokens.verify(token(kid=f"unknown-{number}")) is None
    assert issuer.reads <= 2  # a slow machine may take longer than the pause between two


async def test_what_is_remembered_is_bounded() -> None:
    tokens = Tokens(TokenRules("https://issuer", "tenantry", "", remembered_bytes=6000), Issuer().read)
    for number in range(20):
        assert await tokens.verify(token(sub=f"user-{number}")) is not None
    assert len(tokens._remembered) == 4


async def test_keys_that_can_not_be_read_leave_the_last() -> None:
    issuer = Issuer()
    tokens = Tokens(RULES, issuer.read)
    assert await tokens.verify(token()) is not None

    def fails(_where: str) -> bytes:
        raise OSError

    tokens._read_keys = fails
    await tokens._refresh(0.0)
    assert await tokens.verify(token(sub="bob")) is not None
