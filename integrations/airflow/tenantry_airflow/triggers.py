"""What waits in Airflow's triggerer for a deferred `TenantModelReadySensor`."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from tenantry_airflow import awaited
from tenantry_airflow.sources import SourceUnavailableError
from tenantry_airflow.standing import stand
from tenantry_airflow.where import Where

READY, STALLED, TIMEOUT = "ready", "stalled", "timeout"


class TenantModelReadyTrigger(BaseTrigger):
    """Fire once all TenantModels are Ready, or one is Stalled, or time is up.

    Its event is ``{"state": "ready" | "stalled" | "timeout", "text": …}``.

    Args:
        tenant_models: documents of `Awaited.to_xcom`.
        where: the arguments of `Where`.
        poke_interval: seconds between two listings.
        give_up_at: seconds since the epoch, as another triggerer may go on after a restart.
    """

    def __init__(
        self,
        tenant_models: list[dict[str, Any]],
        where: Mapping[str, Any],
        poke_interval: float,
        give_up_at: float,
    ) -> None:
        super().__init__()
        self.tenant_models = tenant_models
        self.where = dict(where)
        self.poke_interval = poke_interval
        self.give_up_at = give_up_at

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class and its arguments, from which Airflow makes it again."""
        return (
            "tenantry_airflow.triggers.TenantModelReadyTrigger",
            {
                "tenant_models": self.tenant_models,
                "where": self.where,
                "poke_interval": self.poke_interval,
                "give_up_at": self.give_up_at,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """List again and again; blocking calls run in a thread, so that other triggers go on."""
        while True:
            state, text = await asyncio.to_thread(self._look)
            if not state and time.time() > self.give_up_at:
                state = TIMEOUT
            if state:
                yield TriggerEvent({"state": state, "text": text})
                return
            self.log.info("%s", text)
            await asyncio.sleep(self.poke_interval)

    def _look(self) -> tuple[str, str]:
        """Return the state, empty while they wait, and what was seen."""
        each_one = awaited.read(self.tenant_models, namespace="default")
        try:
            seen = Where(**self.where).source().listed({each.namespace for each in each_one})
        except SourceUnavailableError as error:
            return "", f"the last attempt to read TenantModels failed: {error}"
        standing = stand(each_one, seen)
        return STALLED if standing.stalled else READY if standing.ready else "", standing.text
