"""How a server proves that it is the one of its row: an answer that takes a secret which is not in SQL.

The operator asks the endpoint of a row with a random challenge. The answer covers the server's own name and
endpoint, so a stranger can't pass the challenge on to a real server.
"""

import hmac
from collections.abc import Iterable
from secrets import token_hex

PATH = "/challenge/"
"""Of the endpoint; the challenge follows."""


def challenge() -> str:
    """Make a challenge that nobody has seen before."""
    return token_hex(16)


def proof(secret: str, server_id: str, endpoint: str, asked: str) -> str:
    """Return the answer of this server to a challenge: HMAC-SHA256 (RFC 2104), in hexadecimal.

    Example:
        >>> first = proof("secret", "server-0", "http://10.0.0.1:8080", "c")
        >>> first == proof("secret", "server-1", "http://10.0.0.1:8080", "c")
        False
    """
    message = f"tenantry server\n{server_id}\n{endpoint}\n{asked}"
    return hmac.new(secret.encode(), message.encode(errors="backslashreplace"), "sha256").hexdigest()


def holds(secret: str, server_id: str, endpoint: str, asked: str, answer: str) -> bool:
    """Return whether an answer is this server's, in a time that does not tell how much of it is right."""
    given = answer.encode(errors="backslashreplace")
    return hmac.compare_digest(proof(secret, server_id, endpoint, asked).encode(), given)


def known(secrets: Iterable[str], server_id: str, endpoint: str, asked: str, answer: str) -> bool:
    """Return whether an answer shows that this server knows one of several secrets."""
    return any(holds(secret, server_id, endpoint, asked, answer) for secret in secrets)
