"""An issuer of JWTs: its key, its JWKS, and tokens signed with it."""

import json
import time
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

NAME, AUDIENCE = "https://issuer.example", "tenantry"


class Issuer:
    """Signs with one elliptic-curve key, whose public part `read` returns as servers read it."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())

    def read(self, _where: str = "") -> bytes:
        """The JWKS."""
        key = ECAlgorithm.to_jwk(self._key.public_key(), as_dict=True) | {"kid": "ec", "use": "sig"}
        return json.dumps({"keys": [key]}).encode()

    def token(self, subject: str, **claims: Any) -> str:
        """A token of this issuer, of ten minutes where no claim says otherwise."""
        given = {"iss": NAME, "aud": AUDIENCE, "sub": subject, "exp": time.time() + 600} | claims
        return jwt.encode(given, self._key, "ES256", headers={"kid": "ec"})
