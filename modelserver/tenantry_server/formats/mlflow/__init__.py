"""MLflow model folders, as zip archives."""

from tenantry_server.formats.descriptor import Format

FORMAT = Format(
    name="mlflow",
    suffixes=(".mlflow",),
    holds="the zipped folder of an MLflow model",
    kind="an MLflow model folder",
    extra="mlflow",
    rank=9,
    offers=frozenset({"example", "skew"}),
    reads_cards=True,
    answers_several=True,
    folder_file="MLmodel",
    begins=rb"PK",
    members=((r"(.*/)?MLmodel", "an MLflow model folder; declare format: mlflow"),),
)
