"""Memory: loaded models, bounded in measured bytes.

Owns the model cache, its eviction order, and the measure of a model's size. Refuses to read artifacts, and
to know users.
"""
