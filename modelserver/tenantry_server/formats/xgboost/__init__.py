"""XGBoost models from the files that XGBoost itself saves."""

from tenantry_server.formats.descriptor import Format

FORMAT = Format(
    name="xgboost",
    suffixes=(".ubj", ".json"),
    holds="what XGBoost's `save_model` writes",
    kind="an XGBoost model",
    extra="xgboost",
    rank=3,
    offers=frozenset({"dump"}),
    heavy=True,
    begins=rb"\{",
    mistaken=((rb'\{("learner"|L.{8}learner)', "an XGBoost model; declare format: xgboost"),),
    libraries={"xgboost": "xgboost"},
)
