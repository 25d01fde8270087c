"""One model on rows, in whatever process it is: calls, what they leave behind, and what they return.

Refuses to know where the model lives and how its rows arrived.
"""
