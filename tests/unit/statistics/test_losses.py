"""Losses against their formulas, worked by hand, and what cannot be scored is refused by name."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from tidegate.domain.errors import InvalidInput
from tidegate.statistics.losses import loss_of

ONE, TWO = np.array([0.2, 0.9], np.float32), np.array([[0.8, 0.2], [0.1, 0.9]], np.float32)
THREE = np.array([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]], np.float32)
KINDS: list[tuple[dict[str, Any], Any, Any, list[float]]] = [
    ({"kind": "absolute"}, [1.0, 4.0], [3.0, 3.5], [2.0, 0.5]),
    ({"kind": "absolute"}, [[1.0], [4.0]], [3, 4], [2.0, 0.0]),
    ({"kind": "squared"}, [1.0, 4.0], [3.0, 3.5], [4.0, 0.25]),
    ({"kind": "pinball", "quantiles": [0.5]}, [1.0, 4.0], [3.0, 3.5], [1.0, 0.25]),
    ({"kind": "pinball", "quantiles": [0.1, 0.9]}, [[1.0, 5.0]], [3.0], [(0.1 * 2 + 0.1 * 2) / 2]),
    ({"kind": "log_loss"}, TWO, [0, 0], [-math.log(0.8), -math.log(0.1)]),
    ({"kind": "log_loss"}, ONE, [0, 1], [-math.log(0.8), -math.log(0.9)]),
    ({"kind": "log_loss", "labels": ["no", "yes"]}, TWO, ["yes", "no"], [-math.log(0.2), -math.log(0.1)]),
    ({"kind": "log_loss"}, np.array([[1.0, 0.0]]), [1], [-math.log(1e-7)]),
    ({"kind": "brier"}, THREE, [0, 1], [0.25 + 0.09 + 0.04, 0.01 + 0.81 + 0.64]),
    ({"kind": "brier"}, ONE, [True, True], [0.64, 0.01]),
    ({"kind": "zero_one"}, THREE, [0, 1], [0.0, 1.0]),
    ({"kind": "zero_one"}, np.array([3, 5]), [3, 4], [0.0, 1.0]),
    ({"kind": "zero_one"}, np.array(["torn", "whole"], object), np.array(["torn", "torn"], object), [0.0, 1.0]),
    ({"kind": "zero_one", "labels": ["whole", "torn"]}, np.array([[1], [1]]), ["torn", "whole"], [0.0, 1.0]),
]


def array(values: Any) -> np.ndarray:
    made = np.asarray(values)
    return made.astype(object) if made.dtype.kind == "U" else made


@pytest.mark.parametrize(("spec", "prediction", "outcome", "expected"), KINDS)
def test_a_loss_is_what_its_formula_says(spec: dict[str, Any], prediction: Any, outcome: Any, expected: list[float]) -> None:
    found = loss_of(spec).of(array(prediction), array(outcome))
    assert found.dtype == np.float64
    assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("spec", "prediction", "outcome", "named"),
    [
        ({"kind": "log_loss"}, [[2.0, -1.0]], [0], "holds no probabilities, they go from -1 to 2"),
        ({"kind": "brier"}, [[0.2, 0.2]], [0], "rows add up to 0.4 to 0.4"),
        ({"kind": "log_loss"}, TWO, [0, 2], "classes from 0 to 1"),
        ({"kind": "log_loss"}, TWO, ["yes", "no"], "0 labels are given, required 2"),
        ({"kind": "log_loss", "labels": ["no", "yes"]}, TWO, ["yes", "maybe"], "'maybe' is none of the labels"),
        ({"kind": "absolute"}, THREE, [0, 1], "required a number a row"),
        ({"kind": "absolute"}, ["a"], [1.0], "required numbers"),
        ({"kind": "pinball", "quantiles": [0.1, 0.9]}, [1.0], [1.0], "required a column a quantile"),
        ({"kind": "zero_one"}, ONE, [0, 1], "required labels"),
        ({"kind": "squared"}, [1.0], [1.0, 2.0], "1 predictions of 2 outcomes"),
    ],
)
def test_what_a_loss_cannot_score_is_refused(spec: dict[str, Any], prediction: Any, outcome: Any, named: str) -> None:
    with pytest.raises(InvalidInput, match=named):
        loss_of(spec).of(array(prediction), array(outcome))


def test_probabilities_may_be_off_by_the_rounding_of_a_models_own_arithmetic() -> None:
    rounded = array([[1 + 2**-23, -(2**-24)], [0.25, 0.75 + 2**-23]]).astype(np.float32)
    found = loss_of({"kind": "log_loss"}).of(rounded, array([0, 1]))
    assert found == pytest.approx([0.0, -np.log(0.75)], abs=1e-6)


@pytest.mark.parametrize(
    ("spec", "named"),
    [
        ({}, "'kind' is missing"),
        ({"kind": "hinge"}, "allowed: absolute, squared, pinball, log_loss, brier, zero_one"),
        ({"kind": "pinball"}, "pinball alone needs some"),
        ({"kind": "pinball", "quantiles": [0.0]}, "between 0 and 1"),
        ({"kind": "pinball", "quantiles": 0.5}, "required a list"),
        ({"kind": "absolute", "quantile": 0.5}, "'quantile' is not known"),
    ],
)
def test_a_loss_that_is_none_is_refused(spec: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidInput, match=named):
        loss_of(spec)
