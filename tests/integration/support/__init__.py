"""Integration tests of `tests.support`."""
