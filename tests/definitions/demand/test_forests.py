"""The learner's contract: the exported graph is LightGBM's own forest, quantiles in order, nothing pickled."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pipelines.demand.forests import LightgbmQuantiles
from pipelines.demand.learner import TrainedModel
from pipelines.demand.names import QUANTILE_COLUMNS
from pipelines.demand.openmp import import_lightgbm
from pipelines.demand.scoring import score

from tidegate.domain.errors import InvalidInput

NAMES = ("a", "b", "c", "d")
SETTINGS = {
    "trees": 12,
    "leaves": 15,
    "learning_rate": 0.3,
    "min_rows_in_leaf": 5,
    "feature_fraction": 1.0,
    "bagging_fraction": 1.0,
    "max_bin": 63,
    "seed": 3,
    "threads": 1,
}


def data(rows: int = 600) -> tuple[np.ndarray, np.ndarray]:
    """`b` has missing values in training, the others have none."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(rows, 4)).astype(np.float32)
    x[:, 2] = rng.integers(0, 4, rows)
    x[::7, 1] = np.nan
    return x, np.clip(3 * x[:, 0] + np.nan_to_num(x[:, 1]) + x[:, 2] + rng.normal(size=rows), 0, None)


@pytest.fixture(scope="module")
def trained() -> TrainedModel:
    return LightgbmQuantiles().fit(*data(), NAMES, SETTINGS)


def native(trained: TrainedModel, x: np.ndarray) -> np.ndarray:
    """What LightGBM itself says, from its text."""
    boosters = [import_lightgbm().Booster(model_str=trained.native[f"{column}.txt"]) for column in QUANTILE_COLUMNS]
    roots = np.sort(np.stack([booster.predict(x) for booster in boosters], axis=1), axis=1)
    return np.clip(roots, 0, None) ** 2


def thresholds(trained: TrainedModel) -> list[float]:
    found = []
    for text in trained.native.values():
        for line in text.splitlines():
            if line.startswith("threshold="):
                found += [float(item) for item in line.removeprefix("threshold=").split()]
    return sorted(set(found))


def test_the_graph_takes_the_same_branch_at_and_around_every_threshold(trained: TrainedModel) -> None:
    edges = np.array(thresholds(trained), dtype=np.float32)
    assert len(edges) > 50
    below, above = np.nextafter(edges, np.float32(-np.inf)), np.nextafter(edges, np.float32(np.inf))
    values = np.concatenate([below, edges, above, np.float32([np.nan, 0.0, -0.0, 1e30, -1e30])])
    x = np.random.default_rng(2).choice(values, (4000, 4)).astype(np.float32)
    assert score(trained.onnx, x) == pytest.approx(native(trained, x), rel=1e-4, abs=1e-5)


@settings(max_examples=60, deadline=None)
@given(arrays(np.float32, (3, 4), elements=st.floats(-1e6, 1e6, width=32) | st.just(float("nan"))))
def test_quantiles_are_ordered_and_never_negative(trained: TrainedModel, x: np.ndarray) -> None:
    found = score(trained.onnx, x)
    assert (np.diff(found, axis=1) >= 0).all()
    assert found.min() >= 0
    assert found == pytest.approx(native(trained, x), rel=1e-4, abs=1e-5)


def test_training_is_repeatable_to_the_bit_and_leaves_text(trained: TrainedModel) -> None:
    again = LightgbmQuantiles().fit(*data(), NAMES, SETTINGS)
    assert again.onnx == trained.onnx
    assert again.native == trained.native
    assert all(text.startswith("tree\n") for text in trained.native.values())
    assert sum(trained.importance.values()) == pytest.approx(1)
    assert max(trained.importance, key=trained.importance.__getitem__) == "a"


def test_what_cannot_be_learned_from_is_refused() -> None:
    x, y = data(50)
    for vectors, target in ((x.astype(np.float64), y), (x, y[:-1]), (x[:0], y[:0]), (x, y - 100), (x, y * np.nan)):
        with pytest.raises(InvalidInput, match="training"):
            LightgbmQuantiles().fit(vectors, target, NAMES, SETTINGS)


def test_what_is_no_such_model_is_refused(trained: TrainedModel) -> None:
    for onnx in (b"", b"no graph", trained.onnx[: len(trained.onnx) // 2]):
        with pytest.raises(InvalidInput, match="ONNX Runtime refused it"):
            score(onnx, np.zeros((1, 4), np.float32), "the model")
    with pytest.raises(InvalidInput, match="refused"):
        score(trained.onnx, np.zeros((1, 5), np.float32))
