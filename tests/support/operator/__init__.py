"""The operator in the hands of a test: its decisions, and its controller over a real registry."""
