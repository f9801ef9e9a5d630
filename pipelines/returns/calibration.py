"""How sure may a model say that it is: temperatures, expected calibration error, and the confidence below which people look."""

from __future__ import annotations

import numpy as np

BINS = 15


def temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The divisor of the logits with the lowest log loss on rows that were not trained on (Guo et al. 2017), 1/4 to 4."""
    low, high = np.log(0.25), np.log(4.0)
    for _ in range(40):  # golden sections: the loss has one minimum in the logarithm
        left, right = high - 0.618 * (high - low), low + 0.618 * (high - low)
        if _log_loss(logits / np.exp(left), labels) < _log_loss(logits / np.exp(right), labels):
            high = right
        else:
            low = left
    return float(np.exp((low + high) / 2))


def _log_loss(logits: np.ndarray, labels: np.ndarray) -> float:
    shifted = logits - logits.max(axis=1, keepdims=True)
    return float(np.mean(np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(labels)), labels]))


def calibration_error(probabilities: np.ndarray, labels: np.ndarray, bins: int = BINS) -> float:
    """Expected calibration error of the answer with the highest chance: over bins of equal width, |confidence - accuracy|
    weighted by rows."""
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = np.bincount(place, confidence - right, minlength=bins)
    return float(np.abs(gaps).sum() / len(labels))


def threshold(confidence: np.ndarray, right: np.ndarray, wanted: float, most_reviewed: float) -> float:
    """The lowest confidence from which on at least `wanted` of the rows are right, by the lower 95 % bound (Wilson);
    where there is none, the one that leaves `most_reviewed` of the rows to people."""
    order = np.argsort(-confidence, kind="stable")
    n = np.arange(1, len(order) + 1)
    share = np.cumsum(right[order]) / n
    z = 1.645
    bound = (share + z * z / (2 * n) - z * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))) / (1 + z * z / n)
    enough = np.flatnonzero(bound >= wanted)
    chosen = enough[-1] if len(enough) else int((1 - most_reviewed) * (len(order) - 1))
    return float(confidence[order[chosen]])
