"""Compiling: a fitted estimator becomes plain arrays that predict the same and much faster.

Owns the readers of estimators, what they are compiled to, and the proof that both answer alike. Refuses to
raise: where a model can't be compiled, the original serves.
"""
