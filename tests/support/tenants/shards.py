"""Shard maps for tests."""

from collections.abc import Mapping

from tenantry.registry import Holding


def held(owners: Mapping[int, str]) -> dict[int, Holding]:
    """These servers hold these shards, and nobody takes any over."""
    return {shard: Holding(server_id) for shard, server_id in owners.items()}
