"""Shards: what a join costs, what a hundred thousand tenants cost, what a hop costs."""
