"""Load, faults, and what became of the requests."""
