"""Losses of predictions, a number a row, by which versions are compared. All are 0 at best and proper for what they score.

    absolute   |y - f|                                     least at the median
    squared    (y - f)^2                                   least at the mean
    pinball    mean over q of max(q (y - f_q), (q - 1) (y - f_q))      Koenker & Bassett, Econometrica 46 (1978)
    log_loss   -log p of the class that came about         Good, J. Royal Stat. Soc. B 14 (1952)
    brier      sum over classes of (p_k - [k came about])^2            Brier, Monthly Weather Review 78 (1950)
    zero_one   1 where the label is another than the one that came about, else 0

A probability of 0 for what came about would be an infinite log loss, after which no sum says anything; probabilities are kept
CLIP away from 0, as is usual. Of two classes a model may give the probability of the second alone, [n] or [n, 1]; its Brier
score is (p - y)^2 then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tidegate.domain.errors import InvalidInput

CLIP = 1e-7  # what float32 tells apart from 0 beside 1
SUM_TOLERANCE = 1e-3  # of probabilities, from 1


@dataclass(frozen=True)
class Loss:
    """A built-in loss of one output: `output` is its name ('' where the model has one alone), `quantiles` those of `pinball`,
    `labels` the classes in the order of the output's columns, where the outcome is not their number."""

    kind: str
    output: str = ""
    quantiles: tuple[float, ...] = ()
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InvalidInput(f"losses: kind is '{self.kind}', allowed: {', '.join(KINDS)}, or a file 'FILE.py:FUNCTION'")
        if (self.kind == "pinball") != bool(self.quantiles):
            raise InvalidInput(f"losses: kind '{self.kind}' has quantiles {list(self.quantiles)}; pinball alone needs some")
        if not all(0 < quantile < 1 for quantile in self.quantiles):
            raise InvalidInput(f"losses: quantiles are {list(self.quantiles)}, required numbers between 0 and 1")

    @property
    def name(self) -> str:
        """For people."""
        more = f" {', '.join(f'{quantile:g}' for quantile in self.quantiles)}" if self.quantiles else ""
        return f"{self.kind}{more}" + (f" of {self.output}" if self.output else "")

    def of(self, prediction: np.ndarray, outcome: np.ndarray) -> np.ndarray:
        """float64 [n]; raises InvalidInput for a prediction or an outcome that this loss cannot score."""
        if len(prediction) != len(outcome):
            raise InvalidInput(f"loss '{self.name}': {len(prediction)} predictions of {len(outcome)} outcomes")
        return KINDS[self.kind](self, prediction, outcome)


def _absolute(loss: Loss, prediction: np.ndarray, outcome: np.ndarray) -> np.ndarray:
    return np.asarray(np.abs(_numbers(loss, outcome) - _one_column(loss, prediction)))


def _squared(loss: Loss, prediction: np.ndarray, outcome: np.ndarray) -> np.ndarray:
    return np.asarray((_numbers(loss, outcome) - _one_column(loss, prediction)) ** 2)


def _pinball(loss: Loss, prediction: np.ndarray, outcome: np.ndarray) -> np.ndarray:
    forecasts = _numbers(loss, prediction)
    forecasts = forecasts[:, None] if forecasts.ndim == 1 else forecasts
    if forecasts.shape != (len(outcome), len(loss.quantiles)):
        raise InvalidInput(f"loss '{loss.name}': the prediction is {list(forecasts.shape)}, required a column a quantile")
    quantiles = np.asarray(loss.quantiles)
    error = _numbers(loss, outcome)[:, None] - forecasts
    return np.asarray(np.maximum(quantiles * error, (quantiles - 1) * error).mean(axis=1))


def _log_loss(loss: Loss, prediction: np.ndarray, outcome: np.ndarray) -> np.ndarray:
    probabilities, classes = _probabilities(loss, prediction), _classes(loss, prediction, outcome)
    if probabilities.shape[1] == 1:
        probabilities = np.hstack([1 - probabilities, probabilities])
    came = probabilities[np.arange(len(classes)), classes]
    return np.asarray(-np.log(np.clip(came, CLIP, 1.0)))


def _brier(loss: Loss, prediction: np.ndarray, outcome: np.ndarray) -> np.ndarray:
    probabilities, classes = _probabilities(loss, prediction), _classes(loss, prediction, outcome)
    if probabilities.shape[1] == 1:
        return np.asarray((probabilities[:, 0] - classes) ** 2)
    came = np.zeros_like(probabilities)
    came[np.arange(len(classes)), classes] = 1.0
    return np.asarray(((probabilities - came) ** 2).sum(axis=1))


def _zero_one(loss: Loss, prediction: np.ndarray, outcome: np.ndarray) -> np.ndarray:
    values = prediction[:, 0] if prediction.ndim == 2 and prediction.shape[1] == 1 else prediction
    if values.ndim == 2:
        return np.asarray(values.argmax(axis=1) != _classes(loss, prediction, outcome), dtype=np.float64)
    if values.ndim != 1 or values.dtype.kind == "f":
        raise InvalidInput(
            f"loss '{loss.name}': the prediction is {values.dtype} {list(values.shape)}, required labels [n] or probabilities "
            "of two classes or more [n, K]; 'log_loss' and 'brier' score the probability of one"
        )
    named = values.dtype.kind not in "OU" and outcome.dtype.kind in "OU"
    known = _classes(loss, np.zeros((len(outcome), max(2, len(loss.labels)))), outcome) if named else outcome
    return np.asarray(values != known, dtype=np.float64)


KINDS: Mapping[str, Callable[[Loss, np.ndarray, np.ndarray], np.ndarray]] = {
    "absolute": _absolute,
    "squared": _squared,
    "pinball": _pinball,
    "log_loss": _log_loss,
    "brier": _brier,
    "zero_one": _zero_one,
}


def _numbers(loss: Loss, values: np.ndarray) -> np.ndarray:
    if values.dtype.kind not in "biuf":
        raise InvalidInput(f"loss '{loss.name}': values are {values.dtype}, required numbers")
    return values.astype(np.float64)


def _one_column(loss: Loss, prediction: np.ndarray) -> np.ndarray:
    values = prediction[:, 0] if prediction.ndim == 2 and prediction.shape[1] == 1 else prediction
    if values.ndim != 1:
        raise InvalidInput(f"loss '{loss.name}': the prediction is {list(prediction.shape)}, required a number a row")
    return _numbers(loss, values)


def _probabilities(loss: Loss, prediction: np.ndarray) -> np.ndarray:
    values = _numbers(loss, prediction)
    values = values[:, None] if values.ndim == 1 else values
    if problem := _no_probabilities(values):
        raise InvalidInput(
            f"loss '{loss.name}': the prediction holds no probabilities, {problem}; required [n, K] from 0 to 1 with rows that "
            "add up to 1, or [n] of the second of two classes; put a softmax into the export, or name another output"
        )
    return values.clip(0.0, 1.0)


def _no_probabilities(values: np.ndarray) -> str:
    """What is wrong with them, beyond the rounding of a model's own arithmetic; empty for nothing."""
    if values.ndim != 2:
        return f"it is {list(values.shape)}"
    if not np.isfinite(values).all():
        return "some are not finite"
    if values.size and (values.min() < -SUM_TOLERANCE or values.max() > 1 + SUM_TOLERANCE):
        return f"they go from {values.min():.4g} to {values.max():.4g}"
    sums = values.sum(axis=1)
    if values.shape[1] > 1 and (np.abs(sums - 1) > SUM_TOLERANCE).any():
        return f"rows add up to {sums.min():.4g} to {sums.max():.4g}"
    return ""


def _classes(loss: Loss, prediction: np.ndarray, outcome: np.ndarray) -> np.ndarray:
    """The number of the class that came about, of each row."""
    wide = prediction.shape[1] if prediction.ndim == 2 else 1
    number = max(2, wide)
    if outcome.dtype.kind in "OU":
        return _numbered(loss, outcome, number)
    classes = _numbers(loss, outcome)
    if not ((classes == np.floor(classes)) & (classes >= 0) & (classes < number)).all():
        raise InvalidInput(f"loss '{loss.name}': outcomes are not all classes from 0 to {number - 1}; or give the labels")
    return classes.astype(np.int64)


def _numbered(loss: Loss, outcome: np.ndarray, number: int) -> np.ndarray:
    if len(loss.labels) != number:
        raise InvalidInput(
            f"loss '{loss.name}': outcomes are texts and {len(loss.labels)} labels are given, required {number}: 'labels' of "
            "the loss, the classes in the order of the output's columns"
        )
    places = {label: place for place, label in enumerate(loss.labels)}
    unknown = sorted({str(value) for value in outcome.tolist()} - places.keys())
    if unknown:
        raise InvalidInput(f"loss '{loss.name}': the outcome '{unknown[0]}' is none of the labels {', '.join(loss.labels)}")
    return np.array([places[value] for value in outcome.tolist()], dtype=np.int64)


def loss_of(value: Mapping[str, Any]) -> Loss:
    """A built-in loss as it is written: {kind, output, quantiles, labels}; raises InvalidInput."""
    known = ("kind", "output", "quantiles", "labels")
    if unknown := sorted(set(value) - set(known)):
        raise InvalidInput(f"losses: key '{unknown[0]}' is not known, allowed: {', '.join(known)}")
    if "kind" not in value:
        raise InvalidInput(f"losses: key 'kind' is missing, required one of {', '.join(KINDS)}")
    quantiles, labels = (_sequence(value.get(name, ()), name) for name in ("quantiles", "labels"))
    if not all(isinstance(each, (int, float)) and not isinstance(each, bool) for each in quantiles):
        raise InvalidInput(f"losses: quantiles are {list(quantiles)}, required numbers between 0 and 1")
    return Loss(str(value["kind"]), str(value.get("output", "")), tuple(map(float, quantiles)), tuple(map(str, labels)))


def _sequence(value: Any, name: str) -> Sequence[Any]:
    if not isinstance(value, (list, tuple)):
        raise InvalidInput(f"losses: {name} is {value!r}, required a list")
    return value
