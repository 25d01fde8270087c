"""Measurements; each prints a table and the ratio that it is judged by."""
