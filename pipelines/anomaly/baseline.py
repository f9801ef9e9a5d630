"""The detector that anyone would write first: how many standard deviations a reading is from the mean of those before it."""

from __future__ import annotations

import numpy as np

from .detector import windows_of

NAME = "deviations"


def series_scores(values: np.ndarray, window: int, quiet: int) -> np.ndarray:
    """z / (1 + z) of each reading, quiet after one that deviated more, as the model is."""
    before = windows_of(values, window)[:, :-1]
    mean, spread = before.mean(axis=1, dtype=np.float64), before.std(axis=1, dtype=np.float64)
    deviation = np.abs(values - mean) / np.maximum(spread, 1e-9 + 1e-3 * np.abs(mean))
    padded = np.concatenate([np.full(quiet, -np.inf), deviation])
    loudest = np.lib.stride_tricks.sliding_window_view(padded, quiet)[:-1].max(axis=1)
    kept = np.where(deviation > loudest, deviation, 0.0)
    return kept / (1 + kept)
