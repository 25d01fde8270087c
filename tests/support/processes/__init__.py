"""Servers, operators and whole fleets, in this process or in their own."""
