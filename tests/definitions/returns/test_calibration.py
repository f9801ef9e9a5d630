"""Temperatures, calibration errors and the threshold, on arrays whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from pipelines.returns import calibration


def test_a_temperature_undoes_logits_that_were_multiplied():
    random = np.random.default_rng(1)
    logits = random.normal(size=(4000, 5)) * 2
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = np.array([random.choice(5, p=p) for p in chances])
    assert calibration.temperature(logits * 2.5, labels) == pytest.approx(2.5, rel=0.08)
    assert calibration.calibration_error(chances, labels) < 0.02


def test_the_calibration_error_is_how_far_confidence_is_from_the_share_of_right_answers():
    sure = np.tile([0.9, 0.1], (100, 1))
    assert calibration.calibration_error(sure, np.repeat([0, 1], [60, 40])) == pytest.approx(0.3)
    assert calibration.calibration_error(sure, np.repeat([0, 1], [90, 10])) == pytest.approx(0, abs=1e-9)


def test_the_threshold_is_the_lowest_that_keeps_the_wanted_share_right():
    confidence = np.linspace(0.5, 1, 2000)
    right = confidence > 0.7
    threshold = calibration.threshold(confidence, right, 0.98, 0.3)
    kept = right[confidence >= threshold]
    assert 0.98 < kept.mean() < 0.992
    assert len(kept) > 1150


def test_where_the_wanted_share_cannot_be_had_the_most_allowed_go_to_people():
    confidence = np.linspace(0.5, 1, 1000)
    threshold = calibration.threshold(confidence, np.zeros(1000, bool), 0.98, 0.3)
    assert (confidence < threshold).mean() == pytest.approx(0.3, abs=0.01)
