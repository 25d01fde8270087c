"""How a process learns of changes in the registry: it polls, is woken, and judges leases."""
