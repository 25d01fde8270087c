"""What decides which models are in memory before anybody asks."""

from dataclasses import dataclass
from functools import partial

from tenantry.registry import Changes
from tenantry_server.assembly.core import Core
from tenantry_server.peers import warm_query
from tenantry_server.shards.hot_users import HotUsers
from tenantry_server.shards.misplaced import MisplacedModels
from tenantry_server.shards.prewarmer import Prewarmer
from tenantry_server.shards.warm_list import WarmList
from tenantry_server.shards.warm_loader import Warmer


@dataclass(frozen=True, slots=True)
class Warmth:
    """Who was asked for lately, what is loaded for them, and what is given up."""

    prewarmer: Prewarmer
    misplaced: MisplacedModels
    hot: HotUsers

    def changed(self, changes: Changes) -> None:
        """Changes of the registry are in force."""
        self.prewarmer.changed(changes)
        self.misplaced.changed(changes)


def warmth_of(core: Core) -> Warmth:
    """Make it."""
    settings, table, models, own = core.settings, core.table, core.models, core.settings.server_id
    hot = HotUsers(core.registry, table, models, limit=settings.hot_users, every_s=settings.hot_every_s)
    warm_list = WarmList(
        core.registry,
        table,
        hot,
        server_id=own,
        ask=partial(warm_query.ask, hops=core.gatekeeper.hops, tls=core.tls),
        proven=core.challenges.proven,
    )
    prewarmer = Prewarmer(
        table,
        Warmer(table, models, core.plane.models.load, warm_list.in_memory_elsewhere),
        hot=hot.recall,
        warm=warm_list.users_of,
        keeps=core.view.keeps,
        server_id=own,
        wait_s=settings.prewarm_s,
    )
    return Warmth(prewarmer, MisplacedModels(table, models, core.view), hot)
