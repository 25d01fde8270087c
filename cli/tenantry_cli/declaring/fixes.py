"""Declares what `tenantry doctor --fix` stored, and says in words what became of each tenant."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tenantry import ModelId
from tenantry.errors import InvalidManifest, NotPublished
from tenantry.registry import Claim
from tenantry_server.doctor.checkup import Checked
from tenantry_server.publishing import repointing

_TRAIN_AGAIN = "train it again with the libraries that serve, and publish it with example="


@dataclass(frozen=True, slots=True)
class Fix:
    """What became of one tenant.

    Attributes:
        said: for a person; empty: nothing was wrong.
        source: ``uri``, ``sha256`` and ``card`` of the artifact that was stored again; None: none was.
        manifest: the file that declares it now; None: none does.
        command: what a person has to run so that it is declared; empty: nothing.
        is_new: whether this run stored or declared something.
    """

    said: str
    source: Mapping[str, Any] | None = None
    manifest: Path | None = None
    command: str = ""
    is_new: bool = False


def declare(result: Checked, claim: Claim | None, manifests: Path | None) -> Fix:
    """Declare what was stored of one tenant's model where that is possible.

    Args:
        claim: the tenant's TenantModel, as the registry knows it.
        manifests: the folder of manifests; None: unknown, the person gets a command.
    """
    mended = result.mended
    if mended is None:
        if not result.reason and not result.skew:
            return Fix("")
        moved = untouchable(claim, result.model_id)
        return Fix(f"not fixed: {moved}" if moved else f"not fixed; {_TRAIN_AGAIN}")
    if mended.source is None:
        return Fix(f"not fixed: {mended.problem}; {_TRAIN_AGAIN}")
    uri = mended.source["uri"]
    stored = f"stored {uri}" if mended.is_new else f"stored before: {uri}"
    old = ModelId.parse(result.model_id)
    problem = repointing.refusal(None if claim is None else claim.spec, old)
    if claim is None or problem:
        return Fix(f"{stored}; not declared: {problem}", mended.source, is_new=mended.is_new)
    if manifests is None:
        command = repointing.patch_command(mended.source, name=claim.name, namespace=claim.namespace)
        return Fix(f"{stored}; to declare it: {command}", mended.source, None, command, mended.is_new)
    path = manifests / (claim.origin or f"{claim.name}.yaml")
    try:
        was_written = repointing.rewrite_manifest(
            path,
            old,
            mended.source,
            user_id=str(claim.user_id),
            name=claim.name,
            namespace=claim.namespace,
        )
    except (NotPublished, InvalidManifest, OSError) as error:
        return Fix(f"{stored}; not declared: {error}", mended.source, is_new=mended.is_new)
    is_new = mended.is_new or was_written
    return Fix(f"{stored}; declared in {path}", mended.source, path, is_new=is_new)


def untouchable(claim: Claim | None, model_id: str) -> str:
    """Return why a tenant's model should not even be stored again; empty: it may be."""
    return repointing.refusal(None if claim is None else claim.spec, ModelId.parse(model_id))
