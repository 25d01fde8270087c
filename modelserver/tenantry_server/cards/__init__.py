"""A model's card: what it takes, and what it must answer, written where it was trained.

Refuses to know how models are loaded and called: it holds what is compared.
"""
