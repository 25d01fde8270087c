"""Kernels computed together give the bits that each gives alone."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantry_server.kernels import links, stacked
from tenantry_server.kernels.affine import Affine, Guarded, LinkedAffine, LinkedGuarded, Staged
from tenantry_server.kernels.base import Compiled, Head, one_array_of
from tenantry_server.kernels.stacked import Kind
from tenantry_server.kernels.steps import Steps, fill


@dataclass
class Owner:
    model: Compiled
    place: int = -1


NAMES = tuple(f"c{n}" for n in range(300))
LABELS = one_array_of(np.array(["late", "on time"]))
Random = np.random.Generator


def head(width: int, *, missing: bool = False) -> Head:
    return Head(NAMES[:width], width, missing)


def table(random: Random, width: int, *, missing: bool) -> Any:
    rows = [random.normal(size=width), *([random.normal(size=width)] if missing else [])]
    return np.vstack([*rows, np.full(width, 1e200)])


def guarded(random: Random, width: int, *, missing: bool = False) -> Compiled:
    return Guarded(head(width, missing=missing), table(random, width, missing=missing), 0.5, flat=True)


def staged(random: Random, width: int, link: Any = None) -> Compiled:
    ops = (fill, np.subtract, np.divide)
    operands = (random.normal(size=width), random.normal(size=width), random.uniform(0.1, 9, size=width))
    steps = Steps(width, np.arange(width)[::-1].copy(), ops, operands)
    return Staged(
        head(width), steps, random.normal(size=width), random.normal(), link, LABELS if link else None
    )


KINDS: dict[str, Callable[[Random, int], Compiled]] = {
    "affine": lambda random, width: Affine(head(width), random.normal(size=width), random.normal()),
    "sigmoid": lambda random, width: LinkedAffine(
        head(width), random.normal(size=width), random.normal(), links.sigmoid, None
    ),
    "labels": lambda random, width: LinkedAffine(
        head(width), random.normal(size=width), random.normal(), links.positive, LABELS
    ),
    "exponential": lambda random, width: LinkedGuarded(
        head(width),
        table(random, width, missing=False),
        -0.5,
        flat=True,
        link=links.exponential,
        classes=None,
    ),
    "guarded": guarded,
    "missing": lambda random, width: guarded(random, width, missing=True),
    "staged": staged,
    "staged labels": lambda random, width: staged(random, width, links.positive),
}


def added(kind: Kind, model: Compiled) -> int:
    owner = Owner(model)
    kind.add(owner)
    place = owner.place
    kind.add(owner)
    assert owner.place == place, "a second thread that comes late changes nothing"
    return place


def together(models: list[Compiled], rows: Any) -> Any:
    kind = stacked.kind_of(models[0])
    assert kind is not None
    return kind.predict(np.array([added(kind, model) for model in models], np.intp), rows)


@pytest.mark.parametrize("kind", KINDS)
@given(
    seed=st.integers(0, 2**32), width=st.integers(1, 300), scale=st.sampled_from([1e-9, 1.0, 1e3, 1e140])
)
def test_together_is_alone_to_the_last_bit(kind: str, seed: int, width: int, scale: float) -> None:
    """NumPy's einsum and BLAS's gemv fail this for most widths."""
    random = np.random.default_rng(seed)
    models = [KINDS[kind](random, width) for _ in range(33)]
    rows = random.normal(size=(33, width)) * scale
    assert len({stacked.key_of(model) for model in models}) == 1
    predictions, sure = together(models, rows)
    with np.errstate(over="ignore"):
        alone = np.concatenate(
            [model.predict_rows(rows[place : place + 1]) for place, model in enumerate(models)]
        )
    assert predictions.dtype == alone.dtype
    assert predictions[sure].tobytes() == alone[sure].tobytes()
    assert sure.all() or scale > 1e3


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "staged" not in kind])
@given(seed=st.integers(0, 2**32), width=st.integers(1, 300))
def test_rows_of_one_request_have_the_bits_that_each_has_alone(kind: str, seed: int, width: int) -> None:
    random = np.random.default_rng(seed)
    model = KINDS[kind](random, width)
    rows = random.normal(size=(9, width))
    assert stacked.takes_several(model)
    for layout in (rows, np.asfortranarray(rows)):
        together = model.predict_rows(layout)
        alone = np.concatenate([model.predict_rows(rows[place : place + 1]) for place in range(9)])
        assert together.tobytes() == alone.tobytes()


def test_rare_values_are_left_to_the_models_own_call() -> None:
    """A huge value may be refused there, so nothing is claimed of it; its neighbours are sure."""
    random = np.random.default_rng(1)
    for kind in ("guarded", "staged"):
        models = [KINDS[kind](random, 2) for _ in range(3)]
        _, sure = together(models, np.array([[1.0, 2.0], [1e200, 1.0], [np.nan, 1.0]]))
        assert sure.tolist() == [True, False, False]


def test_what_differs_is_not_computed_together() -> None:
    """Columns, links, labels, steps, outputs and kinds."""
    random = np.random.default_rng(2)
    one = KINDS["labels"](random, 3)
    others = [
        KINDS["labels"](random, 4),
        KINDS["sigmoid"](random, 3),
        KINDS["affine"](random, 3),
        LinkedAffine(head(3), random.normal(size=3), 0.0, links.positive, one_array_of(np.array([0, 1]))),
        LinkedAffine(Head(("x", "y", "z"), 3, False), random.normal(size=3), 0.0, links.positive, LABELS),
    ]
    keys = {stacked.key_of(model) for model in (one, *others)}
    assert len(keys) == len(others) + 1
    assert stacked.key_of(Affine(head(3), random.normal(size=(3, 2)), random.normal(size=2))) is None
    assert stacked.key_of(LinkedAffine(head(3), random.normal(size=3), 0.0, links.softmax, LABELS)) is None


def test_places_are_of_models_that_live() -> None:
    """What leaves makes room for the next, and the array grows under those that stay."""
    random = np.random.default_rng(3)
    models = [KINDS["affine"](random, 3) for _ in range(200)]
    kind = stacked.kind_of(models[0])
    assert kind is not None
    assert all(stacked.kind_of(model) is kind for model in models)
    before = kind.count
    places = [added(kind, model) for model in models]
    rows = random.normal(size=(200, 3))
    wanted = np.concatenate([m.predict_rows(r[None]) for m, r in zip(models, rows, strict=True)])
    assert kind.predict(np.array(places), rows)[0].tobytes() == wanted.tobytes()
    for place in places[:100]:
        kind.drop(place)
    assert kind.count == before + 100
    again = [added(kind, model) for model in models[:100]]
    assert sorted(again) == sorted(places[:100])
    assert kind.predict(np.array(again), rows[:100])[0].tobytes() == wanted[:100].tobytes()
