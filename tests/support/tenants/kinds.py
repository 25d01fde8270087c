"""Models of many kinds, trained as a person would on one table: what a server must answer equally."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import xgboost
from sklearn import cluster, discriminant_analysis, ensemble, impute, mixture, naive_bayes, neighbors
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor, make_column_selector
from sklearn.decomposition import PCA
from sklearn.feature_extraction import DictVectorizer
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import BayesianRidge, LogisticRegression, Ridge, SGDClassifier
from sklearn.model_selection import GridSearchCV, TunedThresholdClassifierCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier, MultiOutputRegressor
from sklearn.naive_bayes import MultinomialNB
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    StandardScaler,
    TargetEncoder,
)
from sklearn.svm import SVC, SVR
from sklearn.tree import DecisionTreeClassifier

from tenantry import Model

_ROWS = 60


@dataclass(frozen=True, slots=True)
class Kind:
    """One fitted model.

    Attributes:
        name: also of its user.
        model: fitted.
        example: what it was fitted on.
        method: that is asked.
    """

    name: str
    model: Any
    example: Any
    method: str = "predict"


def double(frame: Any) -> Any:
    """Return twice the frame."""
    return frame * 2


def parts_of_day(frame: pd.DataFrame) -> pd.DataFrame:
    """Return weekday, hour and `a`."""
    return pd.DataFrame({"w": frame["day"].dt.day_of_week, "h": frame["day"].dt.hour, "a": frame["a"]})


class MeanOfCity(BaseEstimator, TransformerMixin):  # type: ignore[misc]
    """Replaces a city by the mean of `a` there; records no names, as many such transformers."""

    def fit(self, frame: pd.DataFrame, _target: Any = None) -> "MeanOfCity":
        self.means_ = frame.groupby("city")["a"].mean().to_dict()
        return self

    def transform(self, frame: pd.DataFrame) -> pd.DataFrame:
        return frame.assign(city=frame["city"].map(self.means_).fillna(0.0).astype(float))


class Plain:
    """A class with `predict`, and nothing else."""

    def predict(self, frame: pd.DataFrame) -> Any:
        return frame["a"].to_numpy() * 2 + frame["city"].str.len().to_numpy()


class Dated(Model):
    """A Model of one's own that answers with times."""

    def predict(self, data: pd.DataFrame) -> Any:
        return (data["day"] + pd.Timedelta(days=1)).to_numpy()


class Labelled(Model):
    """A Model of one's own whose answers differ in length."""

    feature_names = ("a", "city")

    def predict(self, data: pd.DataFrame) -> Any:
        return [
            [city] if a > 0 else [city, round(float(a), 6)]
            for a, city in data[["a", "city"]].itertuples(index=False)
        ]


def kinds() -> Iterator[Kind]:
    """Train each; the same every time."""
    random = np.random.default_rng(0)
    numbers = pd.DataFrame(
        {
            "a": random.normal(size=_ROWS),
            "b": random.normal(size=_ROWS) * 10,
            "n": random.integers(0, 5, _ROWS),
        }
    )
    target = numbers["a"] * 2 + numbers["b"] - numbers["n"]
    binary, label = (target > 0).astype(int), np.where(target > 0, "yes", "no")
    cities = random.choice(["oslo", "rome", "bern"], _ROWS)
    yield from _of_numbers(numbers, target, binary, label)
    yield from _of_columns(numbers, cities, target, random)
    yield from _of_texts(random, label, binary)
    yield from _of_times(numbers, target)
    yield from _of_libraries(numbers, cities, target)


def _of_numbers(x: pd.DataFrame, y: Any, binary: Any, label: Any) -> Iterator[Kind]:
    both = np.column_stack([y, y * 2])
    outputs = np.column_stack([binary, 1 - binary])
    perceptron = MLPRegressor(hidden_layer_sizes=(5,), max_iter=400, tol=0.1, random_state=0)
    holes = x.astype({"n": float}).mask(np.arange(_ROWS)[:, None] % 7 == np.arange(3))
    for name, estimator, rows, target, method in (
        ("ridge", Ridge(), x, y, "predict"),
        ("bayes", BayesianRidge(), x, y, "predict"),
        ("logistic", LogisticRegression(), x, binary, "predict_proba"),
        ("labels", LogisticRegression(), x, label, "predict"),
        ("svr", make_pipeline(StandardScaler(), SVR()), x, y, "predict"),
        ("svc", SVC(), x, label, "decision_function"),
        ("forest", ensemble.RandomForestClassifier(10, random_state=0), x, label, "predict_proba"),
        ("boosted", ensemble.HistGradientBoostingRegressor(max_iter=10), x, y, "predict"),
        ("ada", ensemble.AdaBoostClassifier(n_estimators=5, random_state=0), x, label, "predict"),
        ("bagging", ensemble.BaggingRegressor(n_estimators=4, random_state=0), x, y, "predict"),
        ("isolation", ensemble.IsolationForest(n_estimators=5, random_state=0), x, None, "predict"),
        ("tree", DecisionTreeClassifier(random_state=0), x, label, "predict"),
        ("neighbours", neighbors.KNeighborsRegressor(), x, y, "predict"),
        ("centroid", neighbors.NearestCentroid(), x, label, "predict"),
        ("gaussian-nb", naive_bayes.GaussianNB(), x, binary, "predict"),
        ("gaussian-process", GaussianProcessRegressor(), x, y, "predict"),
        ("perceptron", perceptron, x, y, "predict"),
        ("k-means", cluster.KMeans(3, random_state=0, n_init=1), x, None, "predict"),
        ("mixture", mixture.GaussianMixture(2, random_state=0), x, None, "predict_proba"),
        ("discriminant", discriminant_analysis.LinearDiscriminantAnalysis(), x, label, "predict"),
        ("polynomial", make_pipeline(PolynomialFeatures(2), Ridge()), x, y, "predict"),
        ("bins", make_pipeline(KBinsDiscretizer(3, quantile_method="averaged_inverted_cdf"), Ridge()), x, y,
         "predict"),
        ("components", make_pipeline(PCA(2), Ridge()), x, y, "predict"),
        ("scaled", TransformedTargetRegressor(Ridge(), transformer=StandardScaler()), x, y, "predict"),
        ("isotonic", IsotonicRegression(out_of_bounds="clip"), x[["a"]], y, "predict"),
        ("imputed", make_pipeline(impute.SimpleImputer(), Ridge()), holes, y, "predict"),
        ("knn-imputed", make_pipeline(impute.KNNImputer(), Ridge()), holes, y, "predict"),
        ("two-outputs", Ridge(), x, both, "predict"),
        ("two-forests", ensemble.RandomForestClassifier(5, random_state=0), x, outputs, "predict_proba"),
        ("multi-regressor", MultiOutputRegressor(Ridge()), x, both, "predict"),
        ("multi-classifier", MultiOutputClassifier(LogisticRegression()), x, outputs, "predict_proba"),
        ("chain", ClassifierChain(LogisticRegression()), x, outputs, "predict"),
        ("doubled", make_pipeline(FunctionTransformer(double), Ridge()), x, y, "predict"),
        ("array", Ridge(), x.to_numpy(), y, "predict"),
    ):  # fmt: skip
        yield Kind(name, estimator.fit(rows, target), rows, method)


def _of_columns(x: pd.DataFrame, cities: Any, y: Any, random: np.random.Generator) -> Iterator[Kind]:
    mixed = x.assign(city=cities)
    holes = mixed.copy()
    holes.loc[::7, "city"] = None
    holes.loc[::5, "a"] = np.nan
    whole = pd.DataFrame({"k": random.integers(1, 5, _ROWS), "km": random.normal(size=_ROWS)})
    flagged = x.assign(flag=random.choice([True, False], _ROWS))
    categories = x.assign(city=pd.Categorical(cities))
    onehot = OneHotEncoder(handle_unknown="ignore")
    filled = make_pipeline(impute.SimpleImputer(strategy="most_frequent"), onehot)
    ordinal = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    by_type = ColumnTransformer(
        [
            ("n", StandardScaler(), make_column_selector(dtype_include="number")),
            ("c", onehot, make_column_selector(dtype_exclude="number")),
        ]
    )

    def with_holes(encoder: Any) -> ColumnTransformer:
        return ColumnTransformer([("c", encoder, ["city"]), ("n", impute.SimpleImputer(), ["a"])])

    grid = GridSearchCV(make_pipeline(_encoded(onehot), Ridge()), {"ridge__alpha": [1, 2]}, cv=2)
    boosted = ensemble.HistGradientBoostingRegressor(max_iter=10)
    for name, estimator, rows in (
        ("one-hot", make_pipeline(_encoded(onehot), Ridge()), mixed),
        ("one-hot-missing", make_pipeline(with_holes(onehot), Ridge()), holes),
        ("imputed-text", make_pipeline(with_holes(filled), Ridge()), holes),
        ("ordinal", make_pipeline(_encoded(ordinal), boosted), mixed),
        ("target-encoded", make_pipeline(_encoded(TargetEncoder()), Ridge()), mixed),
        ("categories", ensemble.HistGradientBoostingRegressor(max_iter=10), categories),
        ("one-hot-whole", make_pipeline(_encoded(onehot, "k"), Ridge()), whole),
        ("one-hot-flag", make_pipeline(_encoded(onehot, "flag"), Ridge()), flagged),
        ("selected", make_pipeline(by_type, Ridge()), mixed),
        ("searched", grid, mixed),
        ("own-transformer", make_pipeline(MeanOfCity(), Ridge()), mixed),
        ("text-array", make_pipeline(onehot, Ridge()), mixed[["city"]].to_numpy()),
        ("dicts", make_pipeline(DictVectorizer(), Ridge()), mixed.to_dict("records")),
    ):  # fmt: skip
        yield Kind(name, estimator.fit(rows, y), rows)
    yield Kind("plain-class", Plain(), mixed[["a", "city"]])
    yield Kind("own-model", Labelled(), mixed[["a", "city"]])


def _encoded(encoder: Any, column: str = "city") -> ColumnTransformer:
    return ColumnTransformer([("c", encoder, [column])], remainder="passthrough")


def _vectorized(vectorizer: Any = None) -> ColumnTransformer:
    return ColumnTransformer([("t", vectorizer or TfidfVectorizer(), "text")])


def _of_texts(random: np.random.Generator, label: Any, binary: Any) -> Iterator[Kind]:
    texts = pd.DataFrame({"text": random.choice(["good day", "bad day", "fine weather", "rain"], _ROWS)})
    outputs = np.column_stack([binary, 1 - binary])

    def classifier() -> Any:
        return make_pipeline(_vectorized(), LogisticRegression())

    def bayes() -> Any:
        return make_pipeline(_vectorized(), MultinomialNB())

    two = [("a", classifier()), ("b", bayes())]
    union = FeatureUnion([("a", _vectorized()), ("b", _vectorized(CountVectorizer()))])
    hashed = make_pipeline(_vectorized(HashingVectorizer(n_features=64)), SGDClassifier(random_state=0))
    listed = make_pipeline(TfidfVectorizer(), LogisticRegression())
    counted = make_pipeline(CountVectorizer(), MultinomialNB())
    for name, estimator, rows, target, method in (
        ("text", classifier(), texts, label, "predict_proba"),
        ("text-calibrated", CalibratedClassifierCV(classifier(), cv=2), texts, binary, "predict_proba"),
        ("text-voting", ensemble.VotingClassifier(two), texts, label, "predict"),
        ("text-stacking", ensemble.StackingClassifier(two, cv=2), texts, label, "predict"),
        ("text-one-vs-rest", OneVsRestClassifier(classifier()), texts, label, "predict"),
        ("text-multi", MultiOutputClassifier(classifier()), texts, outputs, "predict_proba"),
        ("text-threshold", TunedThresholdClassifierCV(classifier(), cv=2), texts, binary, "predict"),
        ("text-frozen", FrozenEstimator(classifier().fit(texts, label)), texts, label, "predict"),
        ("text-union", make_pipeline(union, LogisticRegression()), texts, label, "predict"),
        ("text-hashed", hashed, texts, label, "predict"),
        ("text-list", listed, texts["text"].tolist(), label, "predict"),
        ("text-series", counted, texts["text"], label, "predict"),
    ):
        yield Kind(name, estimator.fit(rows, target), rows, method)


def _of_times(x: pd.DataFrame, y: Any) -> Iterator[Kind]:
    hours = pd.date_range("2026-03-01", periods=_ROWS, freq="7h")
    naive, zoned = x.assign(day=hours), x.assign(day=hours.tz_localize("UTC").tz_convert("Europe/Oslo"))
    for name, rows in (("times", naive), ("times-in-oslo", zoned)):
        model = make_pipeline(FunctionTransformer(parts_of_day), Ridge())
        yield Kind(name, model.fit(rows, y), rows)
    yield Kind("answers-times", Dated(), naive[["day"]])


def _of_libraries(x: pd.DataFrame, cities: Any, y: Any) -> Iterator[Kind]:
    categories = x.assign(city=pd.Categorical(cities))
    for name, estimator, rows in (
        ("lightgbm", lightgbm.LGBMRegressor(n_estimators=5, verbose=-1), x),
        ("lightgbm-categories", lightgbm.LGBMRegressor(n_estimators=5, verbose=-1), categories),
        ("xgboost", xgboost.XGBRegressor(n_estimators=5), x),
        ("xgboost-categories", xgboost.XGBRegressor(n_estimators=5, enable_categorical=True), categories),
    ):
        yield Kind(name, estimator.fit(rows, y), rows)
