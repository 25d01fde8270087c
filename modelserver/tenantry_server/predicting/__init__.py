"""Predicting: from a user and rows to predictions.

Owns the order of a prediction (which model, load it, run it), the threads that slow models run in, and the
measure of what requests cost. Refuses HTTP and other servers.
"""
