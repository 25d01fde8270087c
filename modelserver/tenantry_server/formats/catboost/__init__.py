"""CatBoost models from the files that CatBoost itself saves."""

from tenantry_server.formats.descriptor import Format

FORMAT = Format(
    name="catboost",
    suffixes=(".cbm",),
    holds="what CatBoost's `save_model` writes",
    kind="a CatBoost model",
    extra="catboost",
    rank=5,
    heavy=True,
    begins=rb"CBM1",
    mistaken=((rb"CBM1", "a CatBoost model; declare format: catboost"),),
    libraries={"catboost": "catboost"},
)
