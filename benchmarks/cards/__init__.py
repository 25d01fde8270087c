"""`python -m benchmarks.cards`: what a model's card costs."""
