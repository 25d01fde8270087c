"""What `tenantry publish` does once a version is stored and declared: apply it, and wait for it."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

import click

from tenantry import TenantModel
from tenantry_cli import console
from tenantry_cli import options as shared
from tenantry_cli.declaring import waiting

if TYPE_CHECKING:
    from tenantry_cli.declaring.cluster import Cluster

_F = TypeVar("_F", bound=Callable[..., Any])


def options(command: _F) -> _F:
    """--apply, --context, --force-conflicts, --wait, --timeout and --registry."""
    for option in (
        shared.registry,
        click.option(
            "--timeout",
            "timeout_s",
            type=click.FloatRange(min=0.0, max=86_400),
            default=300.0,
            show_default=True,
            help="Seconds that --wait takes at most.",
        ),
        click.option(
            "--wait", is_flag=True, help="End when every live server answers with it, or say why none does."
        ),
        click.option(
            "--force-conflicts", is_flag=True, help="With --apply: take over fields that others have set."
        ),
        click.option("--context", help="With --apply: of the kubeconfig. [default: the current one]"),
        click.option(
            "--apply",
            is_flag=True,
            help="Apply the manifest to the cluster of kubectl's context (server-side).",
        ),
    ):
        command = option(command)
    return command


class Afterwards:
    """What follows a publication; what it needs is looked for before anything is stored.

    Args:
        manifests: the folder that an operator follows; None: there is none.
        apply, context, force_conflicts, wait, timeout_s, registry_url: the options.

    Raises:
        click.ClickException: an option is of no use without another one, or no API server is configured.
        RegistryMismatch: there is no registry to wait on.
    """

    def __init__(
        self,
        manifests: Path | None,
        *,
        apply: bool,
        context: str | None,
        force_conflicts: bool,
        wait: bool,
        timeout_s: float,
        registry_url: str | None,
    ) -> None:
        if wait and not apply and manifests is None:
            raise click.UsageError("--wait needs --manifests, a folder that is served, or --apply")
        if not apply and (context is not None or force_conflicts):
            raise click.UsageError("--context and --force-conflicts are for --apply")
        self._force, self._waits, self._timeout_s = force_conflicts, wait, timeout_s
        self._stack = ExitStack()
        self._cluster: Cluster | None = _cluster(context) if apply else None
        self._look: waiting.Look | None = None
        if self._cluster is not None:
            self._look = self._cluster.find
        elif wait:
            self._look = self._of_registry(registry_url)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def applies(self) -> bool:
        """Whether the manifest goes to a cluster, so that nobody has to pipe it there."""
        return self._cluster is not None

    @property
    def follows(self) -> bool:
        """Whether anything is done once they are published."""
        return self._cluster is not None or self._waits

    def act(self, declared: Sequence[TenantModel]) -> None:
        """Apply these TenantModels and wait for them, as far as that was asked for.

        Raises:
            click.ClickException: the API server refused one.
            waiting.NotReady: some are not in service.
        """
        generations: dict[str, int] = {}
        if self._cluster is not None:
            for each in declared:
                generations[waiting.key_of(each)] = self._cluster.apply(each, force=self._force)
            console.say(
                f"applied {waiting.key_of(declared[0])}"
                if len(declared) == 1
                else f"applied {len(declared)} TenantModels"
            )
        if self._waits and self._look is not None and declared:
            waiting.wait(declared, self._look, timeout_s=self._timeout_s, generations=generations)

    def _of_registry(self, registry_url: str | None) -> waiting.Look:
        from tenantry.registry import RegistryReader  # noqa: PLC0415 - the extra `registry`
        from tenantry.settings import CommonSettings  # noqa: PLC0415 - as above
        from tenantry_cli.declaring.registry import seen_in  # noqa: PLC0415 - as above

        settings = shared.settings(CommonSettings, registry_url=registry_url)
        reader = RegistryReader.of_existing(settings.registry_url)
        return partial(seen_in, self._stack.enter_context(reader))


def _cluster(context: str | None) -> "Cluster":
    from tenantry_cli.declaring.cluster import Cluster  # noqa: PLC0415 - the extra `kubernetes`

    return Cluster(context)
