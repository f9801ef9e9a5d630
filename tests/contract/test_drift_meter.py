"""Evidently's numbers and verdicts are those our thresholds were calibrated for."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from tidegate.adapters.evidently.drift import EvidentlyDriftMeter
from tidegate.domain.errors import InvalidInput
from tidegate.ports.drift import DriftCheck
from tidegate.statistics.calibration import calibrate
from tidegate.statistics.distances import category_distance, comparable, distance, method_for


def columns(rows: int, seed: int, shift: float = 0.0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    skewed = np.floor(np.exp(rng.normal(1.0 + shift, 1.5, rows)))
    gappy = rng.normal(shift, 1.0, rows)
    gappy[rng.random(rows) < 0.2] = np.nan
    wild = rng.normal(shift, 1.0, rows)
    wild[:3] = [np.inf, -np.inf, np.nan]
    return {
        "skewed": skewed.astype(np.float32),
        "gappy": gappy.astype(np.float32),
        "wild": wild,
        "few": rng.integers(0, 7, rows).astype(float),
        "constant": np.full(rows, 4.0),
        "becomes_two": np.where(rng.random(rows) < shift, 5.0, 4.0),
    }


@pytest.mark.parametrize("shift", [0.0, 0.3, 5.0])
def test_our_distance_is_evidentlys_own_number(shift: float) -> None:
    reference, current = columns(3000, 1), columns(400, 2, shift)
    checks, ours = [], {}
    for name, values in reference.items():
        method = method_for(values)
        ours[name] = distance(values, current[name], method)
        checks.append(DriftCheck(name, method, ours[name] * (1 - 1e-9) if len(checks) % 2 else ours[name] + 0.01))
    prepared = [
        {c.feature: comparable(reference[c.feature], side[c.feature], c.method) for c in checks}
        for side in (reference, current)
    ]
    scores = EvidentlyDriftMeter().measure(prepared[0], prepared[1], checks)
    assert {name: score.distance for name, score in scores.items()} == pytest.approx(ours, abs=1e-9)
    assert {name: score.drifted for name, score in scores.items()} == {
        check.feature: ours[check.feature] >= check.threshold for check in checks
    }


def test_calibration_measures_by_the_same_formula() -> None:
    """A reference whose every window is its own rest: the calibrated scale is the distance Evidently would report."""
    rng = np.random.default_rng(4)
    times = np.repeat(np.arange(40), 100)
    days = pl.Series(times * 86_400_000_000).cast(pl.Datetime("us"))
    frame = pl.DataFrame({"x": np.exp(rng.normal(size=4000)), "event_timestamp": days})
    limit = calibrate(frame, ["x"], 100, 1, 0.05, 0, 200).features["x"]
    values = frame["x"].to_numpy()
    drawn = [distance(values[times != day], values[times == day], "wasserstein") for day in range(40)]
    assert np.quantile(drawn, 0.9) < limit.threshold < 2 * max(drawn)


def test_an_empty_column_is_a_clear_error_and_no_check_is_no_work() -> None:
    meter = EvidentlyDriftMeter()
    assert meter.measure({}, {}, []) == {}
    nothing = {"x": np.full(50, np.nan)}
    with pytest.raises(InvalidInput, match="Evidently cannot compare"):
        meter.measure({"x": np.arange(50.0)}, nothing, [DriftCheck("x", "wasserstein", 0.1)])


def test_categories_are_compared_by_their_texts_and_columns_may_have_fewer_values_than_others() -> None:
    rng = np.random.default_rng(5)
    shops = [np.array([f"c{i}" for i in rng.zipf(1.5, n).clip(0, 500)], dtype=object) for n in (3000, 400)]
    shops[1][:40] = None
    wind = [rng.normal(size=n) for n in (60, 7)]
    checks = [DriftCheck("shop", "jensenshannon", 0.9, category=True), DriftCheck("wind", "wasserstein", 1e6)]
    scores = EvidentlyDriftMeter().measure(
        {"shop": shops[0], "wind": comparable(wind[0], wind[0], "wasserstein")},
        {"shop": shops[1], "wind": comparable(wind[0], wind[1], "wasserstein")},
        checks,
    )
    assert scores["shop"].distance == pytest.approx(category_distance(*shops), abs=1e-9)
    assert scores["wind"].distance == pytest.approx(distance(*wind, "wasserstein"), abs=1e-9)
