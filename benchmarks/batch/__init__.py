"""`python -m benchmarks.batch`: many tenants in one request."""
