"""The score is the benchmark's own: each rule by an example worked by hand, the sweep over thresholds by trying them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pipelines.anomaly import nab

AT_START = 2 / (1 + np.exp(-5)) - 1


def series(rows: int, windows: list[tuple[int, int]], detected: list[int]) -> nab.Series:
    scores = np.zeros(rows)
    scores[detected] = 1.0
    return nab.Series(scores, windows)


def score(*corpus: nab.Series, profile: nab.Profile = nab.STANDARD) -> float:
    return nab.score(nab.points(corpus), 0.5, profile)


def test_detecting_every_window_at_its_start_is_perfect_and_nothing_at_all_is_zero():
    windows = [(40, 49), (80, 89)]
    assert score(series(100, windows, [40, 80])) == pytest.approx(100)
    assert score(series(100, windows, [])) == 0


def test_a_window_counts_once_by_its_earliest_detection():
    late, both = series(100, [(40, 49)], [46]), series(100, [(40, 49)], [46, 47, 49])
    position = -(49 - 46 + 1) / 10
    earned = (2 / (1 + np.exp(5 * position)) - 1) / AT_START
    assert score(late) == score(both) == pytest.approx(100 * (earned + 1) / 2)


def test_a_false_detection_costs_more_the_farther_behind_a_window_it_is():
    costs = [nab.raw(nab.points([series(200, [(60, 69)], [60, at])]), 0.5, nab.STANDARD) for at in (71, 75, 90, 150)]
    assert costs == sorted(costs, reverse=True)
    assert costs[-1] == pytest.approx(1 - 0.11)  # more than three lengths behind: all of the weight
    before = nab.raw(nab.points([series(200, [(60, 69)], [40, 60])]), 0.5, nab.LOW_FP)
    assert before == pytest.approx(1 - 0.22)  # no window came before: all of the weight


def test_the_first_share_of_a_series_does_not_count():
    assert nab.probation(100) == 15
    assert nab.probation(22_695) == 750
    assert score(series(100, [(40, 49)], [3, 14, 40])) == pytest.approx(100)


def test_a_missed_window_costs_twice_where_misses_are_to_be_few():
    half = series(100, [(40, 49), (80, 89)], [40])
    assert nab.raw(nab.points([half]), 0.5, nab.STANDARD) == 0
    assert nab.raw(nab.points([half]), 0.5, nab.LOW_FN) == -1


def test_windows_of_several_series_are_told_apart():
    first, second = series(100, [(40, 49)], [40]), series(100, [(40, 49)], [])
    assert score(first, second) == pytest.approx(50)


@settings(max_examples=30)
@given(st.lists(st.integers(0, 5), min_size=60, max_size=60), st.sampled_from(nab.PROFILES))
def test_no_threshold_does_better_than_the_best_one(levels: list[int], profile: nab.Profile):
    found = nab.points([nab.Series(np.array(levels) / 5, [(20, 24), (45, 52)])])
    best = nab.score(found, nab.best_threshold(found, profile), profile)
    assert best == pytest.approx(max(nab.score(found, t, profile) for t in (*np.arange(6) / 5, 1.1)))
