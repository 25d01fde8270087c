"""Tests that run in environments of their own: pytest collects none of them here, others start them."""
