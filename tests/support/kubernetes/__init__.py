"""A real API server, kubectl, and what a person does with them."""
