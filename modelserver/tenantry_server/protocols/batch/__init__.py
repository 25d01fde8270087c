"""Requests for many users: `POST /predict` and `POST /forecast`, whose rows name their user.

Owns the forms in which rows come and answers go, what is passed on to other servers, and the error of each
row. `predicting.batches` computes.
"""
