"""LightGBM models from the files that LightGBM itself saves."""

from tenantry_server.formats.descriptor import Format

FORMAT = Format(
    name="lightgbm",
    suffixes=(".txt",),
    holds="what LightGBM's `save_model` writes",
    kind="a LightGBM model",
    extra="lightgbm",
    rank=4,
    offers=frozenset({"dump"}),
    heavy=True,
    begins=rb"tree\n",
    mistaken=((rb"tree\n", "a LightGBM model; declare format: lightgbm"),),
    libraries={"lightgbm": "lightgbm"},
)
