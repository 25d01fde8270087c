"""A task that waits until servers answer with what was published: `TenantModelReadySensor`."""

import time
from dataclasses import asdict
from datetime import timedelta
from typing import Any

from airflow.sdk import BaseSensorOperator
from airflow.sdk.exceptions import AirflowFailException, AirflowSensorTimeout, AirflowSkipException

from tenantry_airflow import awaited
from tenantry_airflow.sources import SourceUnavailableError
from tenantry_airflow.standing import Standing, stand
from tenantry_airflow.where import Where


class TenantModelReadySensor(BaseSensorOperator):
    """Wait until every TenantModel is Ready at the version that was published.

    Ready means that every live server answers with these bytes. The task fails at once, without a retry,
    where a TenantModel is Stalled, with its reason and message: a person must act. A timeout names who
    still waits, and why. A registry or an API server that does not answer is asked again.

    Each poke is one listing, however many TenantModels are waited for. `mode="reschedule"` frees the worker
    between pokes, and `deferrable=True` waits in Airflow's triggerer.

    Args:
        tenant_models: what `PublishModelsOperator` returns (its ``output``), or names of TenantModels,
            ``NAME`` or ``NAMESPACE/NAME``, which are awaited at whichever version is declared. Templated.
        registry_url: the registry of an operator without Kubernetes, such as
            ``sqlite:////srv/tenantry/registry.db``. None: a cluster is asked. Templated.
        namespace: of names without one. Templated.
        config_file, cluster_context, in_cluster: which cluster; as for `Cluster`. Templated.
        deferrable: wait in the triggerer, which must be able to reach the registry or cluster too.
        poke_interval: seconds between two listings.
        timeout: seconds after which it gives up.
    """

    template_fields = ("tenant_models", "registry_url", "namespace", "config_file", "cluster_context")
    ui_color = "#cfe2f3"

    def __init__(  # noqa: PLR0913 - a sensor's arguments are given by name
        self,
        *,
        tenant_models: Any,
        registry_url: str | None = None,
        namespace: str = "default",
        config_file: str | None = None,
        cluster_context: str | None = None,
        in_cluster: bool | None = None,
        deferrable: bool = False,
        poke_interval: timedelta | float = 5.0,
        timeout: timedelta | float = 3600.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(poke_interval=poke_interval, timeout=timeout, **kwargs)
        self.tenant_models = tenant_models
        self.registry_url = registry_url
        self.namespace = namespace
        self.config_file = config_file
        self.cluster_context = cluster_context
        self.in_cluster = in_cluster
        self.deferrable = deferrable
        self._last = "nothing was read yet"

    def execute(self, context: Any) -> Any:
        """Wait.

        Raises:
            AirflowFailException: a TenantModel is Stalled.
            AirflowSensorTimeout: time is up; names who waits.
            AirflowSkipException: there is nothing to wait for.
        """
        if self.deferrable:
            self._defer()
        try:
            return super().execute(context)
        except AirflowSensorTimeout as error:
            raise AirflowSensorTimeout(f"{error} {self._last}") from None

    def poke(self, context: Any) -> bool:  # noqa: ARG002 - Airflow's signature
        """Read all TenantModels once, and return whether every one is Ready."""
        each_one = self._awaited()
        try:
            seen = self._where().source().listed({each.namespace for each in each_one})
        except SourceUnavailableError as error:
            self._last = f"The last attempt to read them failed: {error}"
            self.log.warning("%s", self._last)
            return False
        return self._judged(stand(each_one, seen))

    def execute_complete(self, context: Any, event: dict[str, str]) -> None:  # noqa: ARG002 - as `execute`
        """Go on after the trigger has fired.

        Raises:
            AirflowFailException, AirflowSensorTimeout: as `execute`.
        """
        if event["state"] == "timeout":
            raise AirflowSensorTimeout(event["text"])
        if event["state"] == "stalled":
            raise AirflowFailException(event["text"])

    def _defer(self) -> None:
        from tenantry_airflow.triggers import TenantModelReadyTrigger  # noqa: PLC0415 - where it is deferred

        trigger = TenantModelReadyTrigger(
            [each.to_xcom() for each in self._awaited()],
            asdict(self._where()),
            self.poke_interval,
            time.time() + self.timeout,
        )
        self.defer(trigger=trigger, method_name="execute_complete")

    def _where(self) -> Where:
        return Where(self.registry_url, self.config_file, self.cluster_context, self.in_cluster)

    def _judged(self, standing: Standing) -> bool:
        if standing.stalled:
            raise AirflowFailException(standing.text)
        self._last = standing.text
        self.log.info("%s", self._last)
        return standing.ready

    def _awaited(self) -> list[awaited.Awaited]:
        try:
            each_one = awaited.read(self.tenant_models, namespace=self.namespace)
        except ValueError as error:
            raise AirflowFailException(str(error)) from None
        if not each_one:
            raise AirflowSkipException("there are no TenantModels to wait for")
        return each_one
