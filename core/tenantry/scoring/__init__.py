"""Scoring: predictions for the rows of a table, each row by its own user's model, many rows in a request.

Owns what goes into a request of many users and what comes of its answer, what is asked again, and a model
server of its own where no fleet runs. Refuses files and progress: those are the command's. A DataFrame in
and a DataFrame out, so that Ray Data, Dask and Spark can call it on the parts of a larger table; where the
command reads Arrow's own tables, it has these in their place.
"""

from tenantry.scoring.batches import Options, close, score_batch, score_batches

__all__ = ["Options", "close", "score_batch", "score_batches"]
