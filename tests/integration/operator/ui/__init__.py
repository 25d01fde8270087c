"""The page of the fleet over a real registry and a server that says what a test wants."""
