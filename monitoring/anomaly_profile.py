"""What drift is judged on: a window of readings by its shape, since its level says nothing from one series to another."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np


def profile(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Of `readings` [n, W]: the newest reading's place in the window's range, how much of the range the middle half of readings
    takes, the share of readings that repeat the one before, and the share that is missing."""
    readings = np.asarray(tensors["readings"], dtype=np.float64)
    missing = np.isnan(readings)
    filled = np.where(missing, np.nanmin(np.where(missing.all(axis=1)[:, None], 0.0, readings), axis=1)[:, None], readings)
    low, high = filled.min(axis=1), filled.max(axis=1)
    width = np.maximum(high - low, 1e-30)
    quarter, middle, three = np.percentile(filled, (25, 50, 75), axis=1)
    return {
        "newest_in_range": (filled[:, -1] - low) / width,
        "median_in_range": (middle - low) / width,
        "middle_half": (three - quarter) / width,
        "repeated": (np.diff(filled, axis=1) == 0).mean(axis=1),
        "missing": missing.mean(axis=1),
    }
