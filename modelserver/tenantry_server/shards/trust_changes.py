"""A change of trusted signers: what was refused is tried again, what was accepted is verified again."""

from collections.abc import Callable

from tenantry import ModelId
from tenantry_server.assignments.candidate_loader import CandidateLoader
from tenantry_server.assignments.routing_table import RoutingTable
from tenantry_server.memory.model_cache import CachedModelRepository
from tenantry_server.shards.faults import Faults


def when_changed(
    table: RoutingTable,
    models: CachedModelRepository,
    candidates: CandidateLoader,
    faults: Faults,
    *,
    signed_only: bool,
) -> Callable[[bool], None]:
    """Return what to call with whether something is not trusted any more; on the event loop.

    A signer who is not trusted any more ends what they signed: those models leave the memory, and the next
    load of each verifies it again. Models in force are loaded in the background, so that a status does not
    wait for a request.
    """

    def changed(gave_up: bool) -> None:
        candidates.try_refused()
        signed = _signed(table, signed_only=signed_only) if gave_up else []
        here = [model_id for model_id in signed if model_id in models]
        for model_id in signed:  # near copies too
            models.discard(model_id)
        faults.verify_again(here)

    return changed


def _signed(table: RoutingTable, *, signed_only: bool) -> list[str]:
    """Return the models in force that were verified."""
    in_force = [each for each in table.assigned().values() if each is not None]
    return [each for each in in_force if signed_only or ModelId.parse(each).signatures is not None]
