"""Rows: the rows of a request, whatever protocol brought them.

Owns their conversion to what a model takes, and the errors that name a row and a column. Refuses HTTP.
"""
