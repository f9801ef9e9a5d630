"""The detector and its ONNX graph: what is new, what is said once, and that both are one function."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pipelines.anomaly import detector
from pipelines.anomaly.graph import graph
from pipelines.anomaly.scoring import outputs

WINDOW, QUIET, THRESHOLD = 40, 6, 0.2
FLOATS = st.floats(-1e6, 1e6, width=32) | st.just(np.float32("nan"))


@pytest.fixture(scope="module")
def onnx() -> bytes:
    return graph(WINDOW, QUIET, THRESHOLD, detector.HIGHEST_NOVELTY, detector.SMALLEST_RANGE).SerializeToString()


def one(values: list[float]) -> float:
    return float(detector.series_scores(np.array(values), WINDOW, QUIET)[-1])


def test_a_reading_within_the_range_is_not_new_and_one_far_outside_is():
    calm = [float(i % 5) for i in range(60)]
    assert one([*calm, 3.0]) == 0
    assert one([*calm, 8.0]) == pytest.approx(1 / 2)  # one range above the highest
    assert one([*calm, -4.0]) == pytest.approx(1 / 2)


def test_an_incident_is_said_once_and_again_when_it_grows():
    calm = [float(i % 5) for i in range(60)]
    assert one([*calm, 8.0, 8.0]) == 0
    assert one([*calm, 8.0, 9.0]) == 0  # newer by less than the first was
    assert one([*calm, 8.0, 80.0]) > 0.5


def test_a_short_series_is_its_oldest_reading_repeated():
    values = np.array([2.0, 3.0, 2.0, 9.0])
    repeated = np.concatenate([np.full(WINDOW - 4, 2.0), values]).astype(np.float32)
    assert detector.series_scores(values, WINDOW, QUIET)[-1] == detector.scores(repeated[None], QUIET)[0]


def test_what_is_missing_is_not_judged_and_belongs_to_no_range():
    calm = [float(i % 5) for i in range(60)]
    holes = [*calm[:30], np.nan, *calm[30:], 8.0]
    assert one(holes) == pytest.approx(1 / 2)
    assert one([*calm, np.nan]) == 0
    assert not detector.scores(np.full((1, WINDOW), np.nan, np.float32), QUIET).any()


def test_units_and_level_make_no_difference():
    random = np.random.default_rng(1)
    values = np.round(random.normal(size=200) * 64)
    same = detector.series_scores(values * 1024 + 4096, WINDOW, QUIET)
    assert np.array_equal(same, detector.series_scores(values, WINDOW, QUIET))


@settings(max_examples=15)
@given(arrays(np.float32, (3, WINDOW), elements=FLOATS))
def test_the_graph_computes_the_same_to_the_bit(onnx: bytes, windows: np.ndarray):
    made, expected = outputs(onnx, windows), detector.scores(windows, QUIET)
    assert np.array_equal(made["score"][:, 0], expected)
    assert np.array_equal(made["alarm"], expected >= np.float32(THRESHOLD))


def test_the_threshold_lets_as_many_alarms_through_as_are_allowed():
    seen = np.array([0.0, 0.5, 0.4, 0.3, 0.2, 0.1])
    threshold = detector.threshold(seen, weeks=2.0, alarms_a_week=1.5)
    assert (seen >= threshold).sum() == 3
