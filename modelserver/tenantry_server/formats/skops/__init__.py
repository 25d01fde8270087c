"""scikit-learn estimators from skops files, which hold no code."""

from tenantry_server.formats.descriptor import Format

FORMAT = Format(
    name="skops",
    suffixes=(".skops",),
    holds="the same estimators, without any code in the file",
    kind="a skops file",
    extra="skops",
    rank=1,
    offers=frozenset({"skew"}),
    reads_cards=True,
    answers_several=True,
    begins=rb"PK",
    members=((r"schema\.json", "a skops file; declare format: skops"),),
    brings=frozenset({"skops", "prettytable", "rich", "wcwidth"}),
)
