"""Policies from a file: what TenantPolicies on an API server are for a cluster.

Until the file was read once without a mistake, nothing is decided. Later, a file with a mistake changes
nothing.
"""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog
import yaml

from tenantry.errors import InvalidManifest
from tenantry.processes.logs import OnChange
from tenantry_operator.policies.document import TenantPolicy
from tenantry_operator.policies.rules import Policies

log = structlog.get_logger(__name__)

_CHECK_EVERY_S = 1.0
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read(path: Path) -> Policies:
    """Read every TenantPolicy of a YAML or JSON file; each namespace has its name as its only label.

    Raises:
        InvalidManifest: a document breaks a rule, or two have one name; no policy of the file counts.
        OSError: the file can't be read.
    """
    try:
        documents = [each for each in yaml.load_all(path.read_bytes(), Loader=_Loader) if each is not None]
    except (yaml.YAMLError, ValueError) as error:
        raise InvalidManifest("", f"{path}: not YAML: {error}") from None
    found: dict[str, TenantPolicy] = {}
    for number, document in enumerate(documents, start=1):
        try:
            policy = TenantPolicy.parse(document)
        except InvalidManifest as error:
            raise InvalidManifest("", f"{path}: document {number}: {error}") from None
        if policy.name in found:
            raise InvalidManifest("", f"{path}: document {number}: {policy.name!r} is declared twice")
        found[policy.name] = policy
    return Policies([found[name] for name in sorted(found)])


def follow(path: Path, govern: Callable[[Policies], None], stop: threading.Event) -> None:
    """Hand over the policies of a file now and after every change, until stopped."""
    problem = OnChange(log)
    while not stop.is_set():
        try:
            govern(read(path))
            problem.over()
        except (InvalidManifest, OSError) as error:
            problem.error("the policies can't be read; those read last stay in force", error=str(error))
        stop.wait(_CHECK_EVERY_S)
