"""One operator as a process that follows a folder of manifests."""

import threading
from contextlib import ExitStack
from pathlib import Path

from tenantry_operator import runtime
from tenantry_operator.control.controller import Controller
from tenantry_operator.folder import policy_file
from tenantry_operator.folder.follow import follow
from tenantry_operator.folder.source import FolderSource
from tenantry_operator.metrics import OperatorMetrics
from tenantry_operator.policies.rules import NO_POLICIES
from tenantry_operator.probes import Health
from tenantry_operator.settings import OperatorSettings


def run(folder: Path, settings: OperatorSettings, *, lifeline: int | None = None) -> None:
    """Keep the registry in step with a folder of manifests until SIGTERM or SIGINT.

    Args:
        lifeline: a pipe that closes when the process that started this one is gone; then stop.

    Raises:
        RegistryMismatch: the registry's URL, version or source is not usable.
        RegistryUnavailable: the registry did not answer at the start.
        LeadershipLost: another operator took over; nothing more was written.
    """
    stop = runtime.stop_event(lifeline)
    folder = folder.absolute()
    health = Health()
    with runtime.traced(settings, writes_statuses=False) as changes, ExitStack() as stack:
        metrics = OperatorMetrics(changes)
        stack.enter_context(runtime.probes(settings, health, metrics))
        followed = f"folder {folder}"
        registry = runtime.leading(settings, followed)
        metrics.leading.set(1)

        def term(ends: threading.Event) -> None:
            file = settings.policy_file
            controller = Controller(
                registry,
                runtime.resolver(settings, beside=folder),
                settings,
                metrics,
                policies=NO_POLICIES if file is None else None,
            )
            if file is not None:
                threading.Thread(
                    target=policy_file.follow, args=(file, controller.govern, ends), daemon=True
                ).start()
            health.controller = controller
            source = FolderSource(folder, registry.claims(), may_empty=settings.allow_mass_delete)
            runtime.work(controller, lambda: follow(source, folder, controller.submit, ends), ends)

        runtime.keep_leading(registry, followed, term, stop)
