"""Real PostgreSQL servers, and outages of them."""
