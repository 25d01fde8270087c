"""Where a request is answered: here, or by which peers in which order. Pure: it asks nobody.

A server that is not to answer asks at most two peers, and then answers itself: ownership is about speed,
never about correctness. Holders come first, the less busy of two drawn at random before the rest
(Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001); then the servers that would
hold the shard if the holders were gone, so that every server turns to the same one. A user who has limits
is answered by holders alone while they live, as they count the requests.

Refuses to know HTTP, and to ask or to wait for anybody.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from tenantry.placement import shard_of
from tenantry.registry.rows import Holding
from tenantry_server.assignments.contact import Contact
from tenantry_server.predicting.answer import Pace
from tenantry_server.quotas.quotas import Left

MAX_PEERS = 2
"""Asked one after another before this server answers itself: each may take its time to fail."""

_BUSY_LOAD = 0.8
_SILENT_SHARE = 0.5  # of a request's time, for finding a peer whose lease holds


@dataclass(slots=True)
class Request:
    """What the choice depends on of one request.

    Attributes:
        user_id: whom the request is for.
        from_client: False where a peer passed it on, or it may not be passed on at all.
        asked_in_vain: peers were asked already, and none could answer.
        about_memory: it asks what is loaded, or changes that: only a holder may answer.
        wants_fresh: it may only be answered by a server whose lease holds.
        draw: a random number, which picks two of several holders.
    """

    user_id: str
    from_client: bool = True
    asked_in_vain: bool = False
    about_memory: bool = False
    wants_fresh: bool = False
    draw: int = 0


class PeerState(Protocol):
    """What the choice depends on of one peer."""

    @property
    def usable(self) -> bool:
        """Whether the peer is worth asking: it lives by the registry, and answered last time."""

    @property
    def leased(self) -> bool:
        """False for a moment after the peer said that its lease is over."""

    @property
    def busyness(self) -> float:
        """What to compare servers by: smaller is better."""


class View(Protocol):
    """This server's view of the fleet: everything else that the choice depends on."""

    @property
    def me(self) -> str:
        """This server's id."""

    @property
    def contact(self) -> Contact:
        """This server's contact with the registry."""

    @property
    def own_load(self) -> float:
        """Busy share of this server's core, 0 to 1."""

    @property
    def peers(self) -> Mapping[str, PeerState]:
        """Every other server by id."""

    def holding(self, shard: int) -> Holding | None:
        """Return who answers for a shard; None before the first map."""

    def replicas_of(self, user_id: str) -> int:
        """Return on how many servers the user's model is to be."""

    def holders(self, shard: int, owner_id: str, count: int) -> Sequence[str]:
        """Return the servers that hold the model of a user of `shard`, the owner first."""

    def order(self, shard: int) -> Sequence[str]:
        """Return who should hold `shard`, best first, this server among them."""

    def pace(self, user_id: str) -> Pace | None:
        """Return how a small prediction would go here; None where the user has no model at all."""

    def left(self, user_id: str) -> Left:
        """Return what is left of the user's limits here."""


@dataclass(frozen=True, slots=True)
class Here:
    """This server answers.

    Attributes:
        may_rescue: peers may be asked by `rescue` where this server can't reach the artifact store.
    """

    may_rescue: bool = False


@dataclass(frozen=True, slots=True)
class Ask:
    """Peers are asked one after another, until one answers.

    Attributes:
        peers: their ids, best first.
        then: the route where none of them could answer.
        at_most: how many of `peers` are asked; those that went down meanwhile don't count.
        fresh: only a peer whose lease holds may answer.
        share: of the request's time, how much may go by before `then`.
    """

    peers: Sequence[str]
    then: "Route"
    at_most: int = MAX_PEERS
    fresh: bool = True
    share: float = 1.0


Route: TypeAlias = Here | Ask
"""A route always ends with Here."""

_HERE, _HERE_OR_RESCUE = Here(), Here(may_rescue=True)


def choose(request: Request, view: View) -> Route:
    """Choose where `request` is answered.

    The route never names this server, asks no peer the same question twice, and ends with `Here`.
    """
    if not request.from_client or not view.peers:
        return _HERE
    route: Route = _HERE if request.about_memory else _HERE_OR_RESCUE
    if request.asked_in_vain:
        return route
    silent = view.contact is Contact.SILENT
    if not (silent and request.wants_fresh):
        near = _near(request, view, leased=not silent)
        if near is not None:
            route = Ask(near, route, fresh=not silent)
    if silent:  # fresh comes before near; where no peer has a lease, near is what is left
        everybody = list(_everybody(request.user_id, view))
        route = Ask(everybody, route, at_most=len(view.peers), share=_SILENT_SHARE)
    return route


def rescue(request: Request, view: View, tried: Collection[str]) -> Ask:
    """Choose who else to ask where this server should answer and can't reach the artifact store.

    Args:
        tried: ids of peers that could not answer this request.
    """
    others = [peer_id for peer_id in _everybody(request.user_id, view) if peer_id not in tried]
    return Ask(others, _HERE)


def belongs_here(user_id: str, view: View) -> bool:
    """Return whether this user's model belongs in this server's model cache, now or soon."""
    shard = shard_of(user_id)
    holding = view.holding(shard)
    if holding is None or view.me in (holding.server_id, holding.next_id):
        return True
    count = view.replicas_of(user_id)
    return count > 1 and view.me in view.holders(shard, holding.server_id, count)


def _near(request: Request, view: View, *, leased: bool) -> Sequence[str] | None:
    """The peers to ask, up to where this server would be next; None: this server answers.

    Args:
        leased: leave out peers that said lately that their lease is over.
    """
    shard = shard_of(request.user_id)
    holding = view.holding(shard)
    if holding is None:
        return None
    count = view.replicas_of(request.user_id)
    if count == 1 and holding.server_id == view.me:
        return None
    pace = view.pace(request.user_id)
    left = Left.UNLIMITED if request.about_memory else view.left(request.user_id)
    if pace is None or (pace is Pace.QUICK and left is Left.UNLIMITED and not request.about_memory):
        return None
    holders = view.holders(shard, holding.server_id, count)
    if view.me in holders:
        if left is Left.NONE:  # here: the others have their shares
            return _usable(view, holders, leased=True) or None
        return _relief(request, view, holders, pace)
    return _in_order(request, view, shard, holders, leased=leased)


def _relief(request: Request, view: View, holders: Sequence[str], pace: Pace) -> Sequence[str] | None:
    """Another holder, for a slow model of a busy server; None: this server answers."""
    if pace is not Pace.SLOW or view.own_load <= _BUSY_LOAD:
        return None
    other = _less_busy(request, view, _usable(view, holders, leased=True))
    if other is None or view.peers[other].busyness >= view.own_load:
        return None
    return (other,)


def _in_order(
    request: Request, view: View, shard: int, holders: Sequence[str], *, leased: bool
) -> list[str]:
    found = _usable(view, holders, leased=leased)
    if len(found) > 1:
        first = _less_busy(request, view, found)
        found = [str(first), *(peer_id for peer_id in found if peer_id != first)]
    for server_id in view.order(shard):
        if server_id == view.me:
            break
        if server_id not in holders:
            found += _usable(view, (server_id,), leased=leased)
    return found


def _everybody(user_id: str, view: View) -> Iterator[str]:
    """Every peer that may know more than this server, the holders first."""
    shard = shard_of(user_id)
    holding = view.holding(shard)
    first: Sequence[str] = ()
    if holding is not None:
        first = view.holders(shard, holding.server_id, view.replicas_of(user_id))
    yield from _usable(view, dict.fromkeys((*first, *view.order(shard), *view.peers)), leased=True)


def _usable(view: View, server_ids: Collection[str], *, leased: bool) -> list[str]:
    found = []
    for server_id in server_ids:
        peer = view.peers.get(server_id)
        if peer is not None and peer.usable and (peer.leased or not leased):
            found.append(server_id)
    return found


def _less_busy(request: Request, view: View, peer_ids: Sequence[str]) -> str | None:
    """The less busy of two that the draw picks; the draw also decides between equals."""
    count = len(peer_ids)
    if count < 2:
        return peer_ids[0] if peer_ids else None
    turn, at = divmod(request.draw, count)
    one = peer_ids[at]
    other = peer_ids[(at + 1 + turn % (count - 1)) % count]
    return one if view.peers[one].busyness <= view.peers[other].busyness else other
