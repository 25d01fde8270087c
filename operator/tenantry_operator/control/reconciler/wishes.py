"""What a TenantModel asks for beside its model: how early, on how many servers, in which limits. Pure."""

from dataclasses import replace

from tenantry.errors import ModelOverLimit
from tenantry.manifest.limits import NO_LIMITS, Limits
from tenantry.registry import Assignment
from tenantry_operator.control.reconciler.decision import Observations, Outcome
from tenantry_operator.declared import Declaration


def written(
    declared: Declaration, seen: Observations, serving: Assignment | None, outcome: Outcome
) -> Outcome:
    """Return a decision that also writes these to the user's row.

    Ready does not wait for that, as it changes no answer.
    """
    row = outcome.assignment or serving
    if row is None or declared.model is None:
        return outcome
    spec = declared.model.spec
    limits = _limits(declared, seen).to_text()
    if (row.prewarm, row.replicas, row.limits) == (spec.prewarm, spec.replicas, limits):
        return outcome
    wished = replace(
        row,
        generation=declared.generation,
        prewarm=spec.prewarm,
        replicas=spec.replicas,
        limits=limits,
    )
    return replace(outcome, assignment=wished)


def oversized(declared: Declaration, seen: Observations, serving: Assignment) -> str | None:
    """Return that the model in force takes more memory than it may, in words; None: it does not."""
    most, size = _limits(declared, seen).cache_bytes, serving.size_bytes
    if most is None or size is None or size <= most:
        return None
    return str(ModelOverLimit(size, most))


def _limits(declared: Declaration, seen: Observations) -> Limits:
    """Return what was declared, and no more than policies allow."""
    own = NO_LIMITS if declared.model is None else declared.model.spec.limits
    if own is NO_LIMITS and seen.ceiling is NO_LIMITS:
        return NO_LIMITS
    return own.within(seen.ceiling)
