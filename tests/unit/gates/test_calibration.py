"""False alarms within the stated budget, at several window sizes, on independent and on autocorrelated data; and power."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from scipy.signal import lfilter
from scipy.stats import binom

from tidegate.domain.digests import canonical_json
from tidegate.domain.errors import InvalidInput
from tidegate.statistics import drift_columns
from tidegate.statistics.calibration import TIME, Thresholds, calibrate
from tidegate.statistics.distances import distance

FEATURES = ["normal", "price", "units", "grade"]
A_DAY, DAYS, BUDGET = 50, 120, 0.05
STUDIES, WINDOWS = 6, 10


def series(rows: int, rng: np.random.Generator, phi: float) -> np.ndarray:
    """[rows, 4] of AR(1) columns with coefficient `phi`: normal, two skewed ones, one of few values."""
    noise = rng.normal(size=(rows + 300, len(FEATURES))) * np.sqrt(1 - phi**2)
    values = lfilter([1.0], [1.0, -phi], noise, axis=0)[300:]
    values[:, 1] = np.exp(1.5 * values[:, 1])
    values[:, 2] = np.floor(np.exp(1.2 * values[:, 2]))
    values[:, 3] = np.clip(np.round(values[:, 3]), -2, 2)
    return np.asarray(values)


def frame_of(values: np.ndarray, features: list[str] = FEATURES) -> pl.DataFrame:
    start = datetime(2010, 1, 1, tzinfo=UTC)
    times = pl.Series(TIME, [start + timedelta(days=i // A_DAY) for i in range(len(values))])
    return pl.DataFrame(values, schema=features).with_columns(times)


def alarmed(thresholds: Thresholds, reference: np.ndarray, current: np.ndarray) -> bool:
    return any(
        distance(reference[:, i], current[:, i], limit.method) >= limit.threshold
        for i, limit in enumerate(thresholds.features[name] for name in FEATURES)
    )


@pytest.mark.parametrize("phi", [0.0, 0.9])
@pytest.mark.parametrize("window", [100, 300, 1000])
def test_false_alarms_keep_to_the_budget_and_real_shifts_are_found(phi: float, window: int) -> None:
    false, price, shifted = 0, 0, 0
    for study in range(STUDIES):
        rng = np.random.default_rng([study, window])
        values = series(A_DAY * DAYS + (WINDOWS + 2) * window, rng, phi)
        reference, later = values[: A_DAY * DAYS], values[A_DAY * DAYS + window :]
        thresholds = calibrate(frame_of(reference), FEATURES, window, max(1.0, window / A_DAY), BUDGET, study, 200)
        for k in range(WINDOWS):
            current = later[k * window : (k + 1) * window]
            false += alarmed(thresholds, reference, current)
            price += alarmed(thresholds, reference, current * np.array([1, 100, 1, 1]))
            shifted += alarmed(thresholds, reference, current + np.array([0.3, 0, 0, 0]))
    trials = STUDIES * WINDOWS
    assert false <= binom.ppf(0.999, trials, BUDGET)
    assert price == trials
    if phi == 0.0 and window >= 300:
        assert shifted >= 0.7 * trials


def test_equal_input_gives_equal_thresholds_and_json_keeps_them() -> None:
    frame = frame_of(series(A_DAY * 30, np.random.default_rng(1), 0.0))
    first, second = (calibrate(frame, FEATURES, 100, 1, BUDGET, 5, 60) for _ in range(2))
    assert first == second
    assert Thresholds.from_bytes(canonical_json(first.to_json()), "test") == first
    assert (first.window, first.budget, first.block_days, first.draws) == (100, BUDGET, 1, 60)


def test_constants_and_missing_values_get_thresholds_that_can_be_crossed_and_kept() -> None:
    rng = np.random.default_rng(3)
    rows = A_DAY * 30
    gaps = np.where(rng.random(rows) < 0.3, np.nan, rng.normal(size=rows))
    frame = frame_of(np.stack([np.full(rows, 4.0), gaps, np.full(rows, np.nan)], axis=1), ["constant", "gaps", "empty"])
    limits = calibrate(frame, ["constant", "gaps", "empty"], 200, 1, BUDGET, 0, 60).features
    assert limits["constant"].method == "jensenshannon"
    assert 0 < limits["constant"].threshold < distance(np.full(9, 4.0), np.full(9, 5.0), "jensenshannon")
    assert 0.02 <= limits["constant"].missing < limits["gaps"].missing < 0.5
    assert 0.02 <= limits["empty"].missing < 0.5


@pytest.mark.parametrize(
    ("features", "days", "said"), [(["absent"], 30, "no column 'absent'"), ([], 30, "no feature"), (FEATURES, 3, "four blocks")]
)
def test_what_cannot_be_calibrated_is_refused(features: list[str], days: int, said: str) -> None:
    frame = frame_of(series(A_DAY * days, np.random.default_rng(1), 0.0))
    with pytest.raises(InvalidInput, match=said):
        calibrate(frame, features, 50, 1, BUDGET, 0, 60)


def test_a_restless_reference_never_makes_a_check_that_cannot_fail() -> None:
    rng = np.random.default_rng(2)
    wild = rng.normal(size=A_DAY * 30) + 100.0 * (np.arange(A_DAY * 30) < A_DAY * 2)  # two days of another world
    limit = calibrate(frame_of(wild[:, None], ["x"]), ["x"], 50, 1, BUDGET, 0, 60).features["x"]
    assert limit.threshold < distance(wild, np.full(50, 1e4), limit.method)


@pytest.mark.parametrize("method", ["wasserstein", "jensenshannon"])
def test_distances_of_many_draws_are_those_of_the_plain_formula(method: str) -> None:
    rng = np.random.default_rng(3)
    values = np.where(rng.random(400) < 0.1, np.nan, rng.integers(0, 60 if method == "wasserstein" else 9, 400).astype(float))
    column = drift_columns.column_of("x", values)
    assert column.method == method
    samples = column.codes[rng.integers(0, 400, (25, 80))]
    blocks = [np.arange(at, at + 40) for at in range(0, 400, 40)]
    which = rng.integers(0, 10, 25)
    fast, _ = drift_columns.drawn_distances(column, samples, blocks, which)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drift_columns, "ALL_AT_ONCE", {})
        plain, _ = drift_columns.drawn_distances(column, samples, blocks, which)
    assert np.allclose(fast, plain)
