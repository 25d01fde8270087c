"""The API servers that tests start: found on this machine, or built once for every checkout."""
