"""Speak JSON to a server on this machine, with the standard library only.

Refuses: proxies, whatever the environment says of them; they cannot reach our 127.0.0.1.
"""

import json
import ssl
import urllib.error
import urllib.request
from typing import Any


def exchange(
    method: str,
    url: str,
    body: object = None,
    *,
    token: str = "",
    trust: ssl.SSLContext | None = None,
    timeout_s: float,
) -> tuple[int, Any]:
    """Send one request and read the whole answer.

    Args:
        method: of HTTP, in capitals.
        url: http or https, on 127.0.0.1.
        body: sent as JSON; None sends none.
        token: for the Authorization header; "" sends none.
        trust: what the server's certificate is checked against.
        timeout_s: silence, in seconds, that ends the wait.

    Returns:
        The HTTP status, whichever it is, and the body: decoded where it is JSON, else text.

    Raises:
        OSError: no connection, or none that is trusted.
        http.client.HTTPException: what answered does not speak HTTP.
    """
    request = urllib.request.Request(url, method=method)
    request.add_header("Content-Type", "application/json")
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    if body is not None:
        request.data = json.dumps(body).encode()
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trust)
    )
    try:
        response = opener.open(request, timeout=timeout_s)
    except urllib.error.HTTPError as error:
        response = error
    with response:
        text = response.read().decode()
        is_json = response.headers.get_content_type() == "application/json"
        return response.status, json.loads(text) if is_json else text
