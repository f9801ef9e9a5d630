"""Measures by hand, and baselines against plain implementations of their papers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pipelines.demand.baselines import Baselines, CrostonSba, mean_28, seasonal_naive
from pipelines.demand.metrics import coverage, mean_pinball, pinball, wape
from pipelines.demand.names import BASELINES

DEMAND = np.random.default_rng(2).poisson(0.6, (6, 120)).astype(float) * np.array([[1], [2], [5], [0], [9], [1]])


def test_measures_by_hand() -> None:
    actual, forecast = np.array([0.0, 4.0, 6.0]), np.array([1.0, 4.0, 3.0])
    assert wape(actual, forecast) == pytest.approx(4 / 10)
    assert pinball(actual, forecast, 0.9).tolist() == pytest.approx([0.1, 0.0, 2.7])
    three = np.stack([forecast, forecast, forecast], axis=1)
    assert mean_pinball(actual, three) == pytest.approx(4 / 3 / 2), "the mean of q and 1-q halves the absolute error"
    assert coverage(actual, three) == pytest.approx([2 / 3] * 3)


def test_nothing_sold_no_rows_and_nan_are_never_a_number() -> None:
    none = np.array([])
    assert math.isnan(wape(none, none))
    assert math.isnan(wape(np.zeros(3), np.ones(3)))
    assert math.isnan(wape(np.array([1.0, 2.0]), np.array([1.0, np.nan])))
    assert math.isnan(mean_pinball(none, np.empty((0, 3))))
    assert math.isnan(mean_pinball(np.array([1.0]), np.array([[1.0, np.nan, 1.0]])))


@given(st.lists(st.integers(0, 50), min_size=5, max_size=60), st.floats(0.05, 0.95))
def test_no_constant_beats_the_quantile_in_pinball_loss(actual: list[int], quantile: float) -> None:
    values = np.array(actual, dtype=float)
    best = min(pinball(values, np.full(len(values), c), quantile).mean() for c in range(51))
    found = np.quantile(values, quantile, method="inverted_cdf")
    assert pinball(values, np.full(len(values), found), quantile).mean() == pytest.approx(best)


def plain_croston_sba(demand: np.ndarray, alpha: float = 0.1) -> float:
    """Croston's method for one series, as in Syntetos & Boylan (2005), eq. 9."""
    size = interval = None
    since = 1
    for value in demand:
        if value > 0:
            size = value if size is None else size + alpha * (value - size)
            interval = 1.0 if interval is None else interval + alpha * (since - interval)
            since = 1
        else:
            since += 1
    return 0.0 if size is None or interval is None else (1 - alpha / 2) * size / interval


@pytest.mark.parametrize("origin", [1, 7, 40, 120])
def test_croston_sba_is_the_paper_s(origin: int) -> None:
    found = CrostonSba(DEMAND).forecast(origin, 3)
    assert found.shape == (6, 3)
    assert found[:, 0].tolist() == pytest.approx([plain_croston_sba(row[:origin]) for row in DEMAND])


def test_naive_repeats_the_last_week_and_mean_28_the_month() -> None:
    assert seasonal_naive(DEMAND, 50, 10)[:, 7:].tolist() == DEMAND[:, 43:46].tolist()
    assert mean_28(DEMAND, 50, 2)[:, 1].tolist() == pytest.approx(DEMAND[:, 22:50].mean(axis=1).tolist())
    with pytest.raises(ValueError, match="no whole week"):
        seasonal_naive(DEMAND, 6, 1)


def test_baselines_see_nothing_after_their_origin() -> None:
    changed = DEMAND.copy()
    changed[:, 90:] = 1000.0
    ours, theirs = Baselines(DEMAND, 4), Baselines(changed, 4)
    for name in BASELINES:
        assert (ours.points(90, 7)[name] == theirs.points(90, 7)[name]).all()
        quantiles = ours.quantiles(90, 7)[name]
        assert (quantiles == theirs.quantiles(90, 7)[name]).all()
        assert (np.diff(quantiles, axis=2) >= 0).all()
        assert quantiles.min() >= 0
    with pytest.raises(ValueError, match="no earlier origin"):
        ours.quantiles(30, 7)
