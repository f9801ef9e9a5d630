"""Columns of any kind keep to the budget of false alarms, and real changes of them are found."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from scipy.signal import lfilter
from scipy.stats import binom

from tidegate.statistics.calibration import TIME, Thresholds, calibrate
from tidegate.statistics.distances import category_distance, distance

START = datetime(2020, 1, 1, tzinfo=UTC)
BUDGET, STUDIES, WINDOWS = 0.05, 3, 10
SHARES = 1.0 / np.arange(1, 501)  # of 500 categories, as customers have them: few are many
SHARES /= SHARES.sum()


def texts(rng: np.random.Generator, rows: int, shares: np.ndarray = SHARES) -> list[str]:
    return [f"c{i}" for i in rng.choice(len(shares), rows, p=shares)]


def table(rng: np.random.Generator, rows: int) -> pl.DataFrame:
    few = texts(rng, rows, np.array([0.6, 0.3, 0.1]))
    columns = {"shop": texts(rng, rows), "grade": few, "express": rng.random(rows) < 0.1, "age": rng.gamma(3, 9, rows)}
    missing = {"grade": 0.05, "express": 0.02}
    gaps = [pl.when(pl.Series(rng.random(rows) >= share)).then(pl.col(name)).alias(name) for name, share in missing.items()]
    return pl.DataFrame(columns).with_columns(gaps)


NAMES = ["shop", "grade", "express", "age"]


def alarmed(limits: Thresholds, reference: pl.DataFrame, current: pl.DataFrame) -> bool:
    return any(_far(limits, name, reference, current) for name in NAMES)


def _far(limits: Thresholds, name: str, reference: pl.DataFrame, current: pl.DataFrame) -> bool:
    limit, (a, b) = limits.features[name], (frame[name] for frame in (reference, current))
    missing = abs(b.null_count() / len(b) - a.null_count() / len(a)) >= limit.missing
    if limit.category:
        return missing or category_distance(a.to_numpy(), b.to_numpy()) >= limit.threshold
    return missing or distance(*(c.cast(pl.Float64).to_numpy() for c in (a, b)), limit.method) >= limit.threshold


@pytest.mark.parametrize("timed", [True, False])
@pytest.mark.parametrize("window", [100, 300, 1000])
def test_texts_of_500_values_flags_and_numbers_keep_to_the_budget_with_and_without_times(window: int, timed: bool) -> None:
    false = found = 0
    for study in range(STUDIES):
        rng = np.random.default_rng([study, window])
        reference = table(rng, 6000)
        if timed:
            reference = reference.with_columns(pl.Series(TIME, [START + timedelta(hours=i // 10) for i in range(6000)]))
        limits = calibrate(reference, NAMES, window, 1, BUDGET, study, 200)
        for _ in range(WINDOWS):
            current = table(rng, window)
            false += alarmed(limits, reference, current)
            moved = pl.Series(texts(rng, window, np.roll(SHARES, 3)))  # other shops are the many
            found += _far(limits, "shop", reference, current.with_columns(shop=moved))
    assert false <= binom.ppf(0.999, STUDIES * WINDOWS, BUDGET)
    assert found >= 0.9 * STUDIES * WINDOWS


def weather(rng: np.random.Generator, hours: int) -> np.ndarray:
    return np.asarray(lfilter([1.0], [1.0, -0.97], rng.normal(size=hours + 500))[500:])


def at_airports(rng: np.random.Generator, hours: int, a_time: int = 5) -> pl.DataFrame:
    rows = hours * a_time
    return pl.DataFrame(
        {
            "wind": np.repeat(weather(rng, hours), a_time),
            "delay": rng.gamma(2, 5, rows),
            TIME: [START + timedelta(hours=i // a_time) for i in range(rows)],
        }
    )


def test_weather_that_all_keys_share_is_counted_by_its_values_and_alarms_no_more_often_than_the_budget() -> None:
    alarms = 0
    for study in range(8):
        reference = at_airports(np.random.default_rng(study), 24 * 35)
        limits = calibrate(reference, ["wind", "delay"], 500, 1, BUDGET, study, 100)
        wind = limits.features["wind"]
        assert (wind.shared, wind.values, limits.features["delay"].shared) == (True, 24, False)
        for week in range(5):
            hours = reference[7 * 24 * 5 * week : (7 * week + 1) * 24 * 5]["wind"].to_numpy()
            alarms += distance(reference["wind"].to_numpy(), hours, wind.method) >= wind.threshold
    assert alarms <= binom.ppf(0.999, 40, BUDGET)


def test_a_threshold_that_its_ceiling_cuts_says_so() -> None:
    rng = np.random.default_rng(2)
    days = pl.Series(TIME, [START + timedelta(days=i // 50) for i in range(1500)])
    wild = rng.normal(size=1500) + 100.0 * (np.arange(1500) < 100)  # two days of another world
    frame = pl.DataFrame({"x": wild, "calm": rng.normal(size=1500)}).with_columns(days)
    limits = [calibrate(frame, [name], 50, 1, BUDGET, 0, 60).features[name] for name in ("x", "calm")]
    assert [limit.cut for limit in limits] == [True, False]
    assert limits[0].threshold < distance(wild, np.full(50, 1e4), limits[0].method)


def test_numbers_that_are_named_categories_are_compared_as_such() -> None:
    rng = np.random.default_rng(1)
    codes = rng.integers(0, 300, 2000)
    frame = pl.DataFrame({"zip": codes, "same": codes})
    limits = calibrate(frame, ["zip", "same"], 200, 1, BUDGET, 0, 60, categorical=["zip"]).features
    assert (limits["zip"].category, limits["zip"].method) == (True, "jensenshannon")
    assert (limits["same"].category, limits["same"].method) == (False, "wasserstein")
