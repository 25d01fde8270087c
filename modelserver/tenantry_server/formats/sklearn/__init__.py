"""scikit-learn estimators, other libraries' objects and any Model subclass, from joblib or pickle files."""

from tenantry.lazy_names import lazily
from tenantry_server.formats.descriptor import Format

FORMAT = Format(
    name="sklearn",
    suffixes=(".joblib", ".pkl", ".pickle"),
    holds="a fitted scikit-learn estimator or pipeline, or an instance of your own `Model` class",
    kind="a joblib or pickle file",
    rank=0,
    offers=frozenset({"skew", "written_again"}),
    reads_cards=True,
    answers_several=True,
    runs_pickles=True,
    begins=rb"\x80",
    mistaken=((rb"\x80[\x02-\x05]", "a pickle or joblib file; declare format: sklearn"),),
    libraries={"sklearn": "scikit-learn", "numpy": "numpy", "pandas": "pandas", "scipy": "scipy"},
    brings=frozenset({"joblib", "threadpoolctl", "treelite"}),
)

# Models that were pickled when the reader was this module name its class here.
__getattr__ = lazily(__name__, {"SklearnModel": f"{__name__}.reader"})
