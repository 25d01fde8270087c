"""Kernels: what the serving process computes predictions with, as plain arrays.

Owns affine maps, tree ensembles and what follows them, their form on the wire between processes, and the
checks of that form. Refuses every library that reads models: NumPy, and the C code of treelite, is all.
"""
