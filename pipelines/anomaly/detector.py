"""How new a reading is: by how much it leaves the range of the readings before it, in units of that range.

A window holds the last W readings of a series, the newest last. Its score is the newest reading's: the part of `novelty / (1
+ novelty)`, between 0 and 1. A reading that is less new than one of the `quiet` readings before it scores 0: an incident is
said once, and again only when it grows. A series that is shorter than the window repeats its oldest reading in front, which
leaves its range, and so its scores, as they are. A missing reading (NaN) belongs to no range and scores 0.

Nothing is kept between calls: the window is all there is. Everything here is also the ONNX graph (graph.py); a test compares
them.
"""

from __future__ import annotations

import numpy as np

WINDOW = 1440  # readings: five days of one each five minutes
QUIET = 72
HIGHEST_NOVELTY = np.float32(5)  # of a reading that leaves a range of no width
SMALLEST_RANGE = np.float32(1e-30)


def scores(windows: np.ndarray, quiet: int = QUIET) -> np.ndarray:
    """[n, W] float32, W > quiet + 1 -> [n] float32."""
    windows = np.asarray(windows, dtype=np.float32)
    first = windows.shape[1] - quiet - 1
    high = _running(windows, first, -np.inf, np.maximum)
    low = _running(windows, first, np.inf, np.minimum)
    novelty = _novelty(windows[:, first:], high, low)
    newest, loudest = novelty[:, -1], novelty[:, :-1].max(axis=1)
    kept = np.where(newest > loudest, newest, np.float32(0))
    return (kept / (1 + kept)).astype(np.float32)


def _running(windows: np.ndarray, first: int, unknown: float, extreme: np.ufunc) -> np.ndarray:
    """The extreme of all known readings before each of those from `first` on."""
    part = windows[:, first:-1]
    head = extreme.reduce(windows[:, :first], axis=1)
    if np.isnan(head).any() or np.isnan(part).any():
        known = np.where(np.isnan(windows[:, :-1]), np.float32(unknown), windows[:, :-1])
        head, part = extreme.reduce(known[:, :first], axis=1), known[:, first:]
    return extreme.accumulate(np.concatenate([head[:, None], part], axis=1), axis=1)


def _novelty(values: np.ndarray, high: np.ndarray, low: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", over="ignore"):
        width = np.maximum(high - low, SMALLEST_RANGE)
        beyond = np.maximum(values - high, low - values) / width
    judged = np.isfinite(high) & ~np.isnan(values)
    return np.where(judged, np.clip(beyond, 0, HIGHEST_NOVELTY), 0).astype(np.float32)


def windows_of(values: np.ndarray, window: int = WINDOW) -> np.ndarray:
    """[rows, window] float32, a view: the window that ends with each reading of a series."""
    values = np.asarray(values, dtype=np.float32)
    padded = np.concatenate([np.full(window - 1, values[0], np.float32), values])
    return np.lib.stride_tricks.sliding_window_view(padded, window)


def series_scores(values: np.ndarray, window: int = WINDOW, quiet: int = QUIET, rows: int = 2048) -> np.ndarray:
    """The score of each reading of a series, as a client that sends one window a reading would get it."""
    windows = windows_of(values, window)
    return np.concatenate([scores(windows[at : at + rows], quiet) for at in range(0, len(windows), rows)])


def threshold(alarms: np.ndarray, weeks: float, alarms_a_week: float) -> float:
    """The score that the readings of the training part exceed `alarms_a_week` times a week and series: half way, on a
    logarithmic scale, between the last score that is an alarm and the first that is none."""
    ranked = np.sort(alarms[alarms > 0])[::-1]
    allowed = int(alarms_a_week * weeks)
    if allowed >= len(ranked):
        return float(ranked[-1]) if len(ranked) else 0.5
    last, first = ranked[max(allowed - 1, 0)], ranked[allowed]
    return float(np.sqrt(last * first))
