"""The access log: a line of JSON for each request that it is set to show."""
