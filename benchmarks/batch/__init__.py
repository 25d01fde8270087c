"""Requests for many users at once: what they save, in each of their forms."""
