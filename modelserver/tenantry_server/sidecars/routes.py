"""`GET /follow?follower=NAME&cursor=CURSOR`: a process follows this server instead of the registry.

With `leaving` in the query it says that it has stopped to.

Owns the path and who may follow. Only a fleet with a secret has this route, and a follower proves that it
knows the secret: else a stranger could hold up every Ready, by never acknowledging anything.
"""

import hmac
import re
from collections.abc import Callable
from secrets import token_bytes

from aiohttp import web

from tenantry.errors import InvalidRequest, RegistryUnavailable
from tenantry.trust import proofs
from tenantry.trust.fleet_secrets import FleetSecrets
from tenantry_server.sidecars.feed import Feed
from tenantry_server.wire.errors import responses as error_responses

PATH = "/follow"
_ASKED = "GET " + PATH
CHALLENGE = "Tenantry-Challenge"
PROOF = "Tenantry-Proof"
_HOLD_S = 1.0  # an answer without news comes after this time, and renews the follower's lease
_NAME = re.compile(r"[A-Za-z0-9._-]{1,253}")


def proof(secret: str, follower: str, asked: str) -> str:
    """Return what a follower answers to a challenge; no server's answer to the operator is the same."""
    return proofs.proof(secret, follower, _ASKED, asked)


def routes(feed: Feed, secrets: FleetSecrets) -> list[web.RouteDef]:
    """Make the route, which answers with what came after the cursor, or with nothing after a second."""
    challenge_of = _challenges()

    async def follow(request: web.Request) -> web.Response:
        follower, cursor = request.query.get("follower", ""), request.query.get("cursor", "")
        if not _NAME.fullmatch(follower):
            raise InvalidRequest("follower must be 1 to 253 letters, digits, '.', '_' and '-'")
        asked = challenge_of(follower)
        given = request.headers.get(PROOF, "")
        if not proofs.known(secrets.accepted, follower, _ASKED, asked, given):
            return _refused(asked)
        if "leaving" in request.query:
            feed.left(follower)
            return web.Response(body=b"{}", content_type="application/json")
        feed.heard(follower, cursor)
        await feed.until_newer(cursor, _HOLD_S)
        body = feed.answer(follower, cursor)
        if body is None:
            raise RegistryUnavailable("this server's lease is over, or it is stopping; follow another one")
        return web.Response(body=body, content_type="application/json")

    return [web.get(PATH, follow)]


def _challenges() -> Callable[[str], str]:
    """Return a function from followers to their challenges: others for each process, with no list kept."""
    key = token_bytes(32)
    return lambda follower: hmac.new(key, follower.encode(), "sha256").hexdigest()[:32]


def _refused(asked: str) -> web.Response:
    message = f"prove that you know TENANTRY_FLEET_SECRET: answer {CHALLENGE} with {PROOF}"
    refused = error_responses.response(401, "ProofMissing", message, error_responses.native)
    refused.headers[CHALLENGE] = asked
    return refused
