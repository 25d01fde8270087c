"""Loads of models: whose turn it is, in threads that may hang, and how soon one is tried again."""
