"""From a model and an example of its training data to its card, where it is trained.

A server imports nothing of it.
"""
