"""A task that publishes models: `PublishModelsOperator`."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

from tenantry import TenantModel
from tenantry_airflow.awaited import Awaited
from tenantry_airflow.where import Where

_MOST_SHOWN = 20
_LOG_EVERY = 500


class PublishModelsOperator(BaseOperator):
    """Store models and declare each for its user: `publish_many` as a task.

    One model that fails stops no other. The task then fails, with a report of what failed, and what was
    published stays published. A retry publishes all of it again, under new names.

    Returns by XCom what was published, for `TenantModelReadySensor`: a list of
    ``{"user_id", "namespace", "name", "model_id"}``, and ``generation`` where a cluster gave one; about 300
    bytes each. Where there is nothing to publish, the task is skipped.

    Args:
        models: a table as `tenantry publish --table` takes it (the path of a ``.csv`` or ``.parquet``
            file), or items as `publish_many` takes them, say from XCom, where each ``model`` is a path.
            Templated.
        python_callable: in its place, what returns or yields such items; it may train each as it goes.
        op_kwargs: arguments of `python_callable`. Templated.
        to: a folder, or ``s3://bucket/prefix``; every server must be able to read it. Templated.
        manifests: the folder that gets ``NAME.yaml``, which an operator follows or a Git repository holds.
            None: no file is written. Templated.
        apply: declare each in a cluster, by server-side apply.
        namespace: of TenantModels whose item names none; None: as `publish` chooses it. Templated.
        config_file, cluster_context, in_cluster: which cluster; as for `Cluster`. Templated.
        s3_endpoint_url: of an S3 server other than Amazon's; None: TENANTRY_S3_ENDPOINT_URL. Templated.
        check: whether to load each model as a server would before it is stored, which runs its code.
        threads: how many are published, and applied, at once.
    """

    template_fields = (
        "models",
        "op_kwargs",
        "to",
        "manifests",
        "namespace",
        "config_file",
        "cluster_context",
        "s3_endpoint_url",
    )
    ui_color = "#d9ead3"

    def __init__(  # noqa: PLR0913 - an operator's arguments are given by name
        self,
        *,
        models: str | Path | Iterable[Mapping[str, Any]] | None = None,
        python_callable: Callable[..., Iterable[Mapping[str, Any]]] | None = None,
        op_kwargs: Mapping[str, Any] | None = None,
        to: str,
        manifests: str | None = None,
        apply: bool = False,
        namespace: str | None = None,
        config_file: str | None = None,
        cluster_context: str | None = None,
        in_cluster: bool | None = None,
        s3_endpoint_url: str | None = None,
        check: bool = True,
        threads: int = 8,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if (models is None) == (python_callable is None):
            raise ValueError("give either models or python_callable")
        if manifests is None and not apply:
            raise ValueError("give manifests, or apply=True: else nothing declares what is stored")
        self.models = models
        self.python_callable = python_callable
        self.op_kwargs = op_kwargs or {}
        self.to = to
        self.manifests = manifests
        self.apply = apply
        self.namespace = namespace
        self.config_file = config_file
        self.cluster_context = cluster_context
        self.in_cluster = in_cluster
        self.s3_endpoint_url = s3_endpoint_url
        self.check = check
        self.threads = threads

    def execute(self, context: Any) -> list[dict[str, Any]]:  # noqa: ARG002 - Airflow's signature
        """Publish, declare, and return what to wait for.

        Raises:
            AirflowException: some were not published or not declared.
            AirflowFailException: what was given is not a list of models; a retry would find the same.
            AirflowSkipException: there was nothing to publish.
        """
        from tenantry_server.publishing import publish_many  # noqa: PLC0415 - seconds, for each parsing

        report = publish_many(
            self._named(self._items()),
            to=self.to,
            manifests=self.manifests,
            s3_endpoint_url=self.s3_endpoint_url,
            check=self.check,
            threads=self.threads,
            done=self._log_progress,
        )
        failed = [f"item {each.number}, user {each.user_id}: {each.problem}" for each in report.failed]
        awaited = [Awaited.of(declared) for declared in report.published]
        if self.apply:
            awaited, refused = self._applied(report.published)
            failed += refused
        for problem in failed:
            self.log.error("%s", problem)
        if failed:
            raise AirflowException(_told(failed, len(awaited)))
        self.log.info("%d models are published to %s", len(awaited), self.to)
        return [each.to_xcom() for each in awaited]

    def _items(self) -> Iterator[Mapping[str, Any]]:
        given = self.models if self.python_callable is None else self.python_callable(**self.op_kwargs)
        if isinstance(given, str | Path):
            given = _table(Path(given))
        if isinstance(given, Mapping) or not isinstance(given, Iterable):
            raise AirflowFailException(f"models must be a list of items, got {type(given).__name__}")
        items = iter(given)
        first = next(items, None)
        if first is None:
            raise AirflowSkipException("there are no models to publish")
        return chain([first], items)

    def _named(self, items: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
        for number, item in enumerate(items):
            if not isinstance(item, Mapping):
                raise AirflowFailException(
                    f"item {number} must be a mapping with user_id and model, got {type(item).__name__}"
                )
            yield (
                item
                if self.namespace is None or item.get("namespace")
                else {
                    **item,
                    "namespace": self.namespace,
                }
            )

    def _applied(self, published: list[TenantModel]) -> tuple[list[Awaited], list[str]]:
        where = Where(None, self.config_file, self.cluster_context, self.in_cluster)
        applied = where.cluster().apply(published, threads=self.threads)
        return (
            [Awaited.of(each.declared, each.generation) for each in applied if not each.problem],
            [f"user {each.declared.spec.user_id}: {each.problem}" for each in applied if each.problem],
        )

    def _log_progress(self, report: Any) -> None:
        count = len(report.published) + len(report.failed)
        if count % _LOG_EVERY == 0:
            self.log.info("%d published, %d failed so far", len(report.published), len(report.failed))


def _table(path: Path) -> list[dict[str, Any]]:
    import click  # noqa: PLC0415 - a table only

    from tenantry_cli.declaring import tables  # noqa: PLC0415

    try:
        return tables.read(path)
    except (click.ClickException, OSError) as error:
        raise AirflowFailException(str(error)) from None


def _told(failed: list[str], published: int) -> str:
    more = len(failed) - _MOST_SHOWN
    rest = [f"and {more} more, which the log of this task names"] if more > 0 else []
    lines = "\n  ".join(failed[:_MOST_SHOWN] + rest)
    return f"{len(failed)} models were not published, {published} were:\n  {lines}"
