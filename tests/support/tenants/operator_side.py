"""What an operator would have decided: a test writes it into the registry itself."""

from collections.abc import Mapping

from sqlalchemy import Engine

from tenantry.registry import Assignment, Holding, OperatorRegistry, Writes


def leading(engine: Engine) -> OperatorRegistry:
    """The registry as the operator that leads it."""
    operator = OperatorRegistry(engine, "test")
    operator.lead("a test")
    return operator


class OperatorSide:
    """An operator's side of a registry.

    Attributes:
        operator: the registry as the one that leads it.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.operator = leading(engine)

    def assign(self, *rows: Assignment) -> int:
        """Write rows; returns the last revision that was given."""
        return max(self.operator.commit(Writes(assignments=rows)).values())

    def hold(self, owners: Mapping[int, str]) -> None:
        """Give these servers these shards; nobody takes any over."""
        self.operator.assign_shards({shard: Holding(owner) for shard, owner in owners.items()})
