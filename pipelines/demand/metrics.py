"""Measures of forecasts of intermittent demand. Percentage errors (MAPE) do not exist here: most days have no sale.

    WAPE          sum |y - f| / sum |y|                            Kolassa & Schuetz, Foresight 6 (2007)
    pinball loss  mean of max(q (y - f), (q - 1) (y - f))          Koenker & Bassett, Econometrica 46 (1978)

Everything that is not finite in a forecast or an actual is an error of the caller: the result is NaN, never a number that
leaves rows out.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .names import QUANTILES


def wape(actual: np.ndarray, forecast: np.ndarray) -> float:
    """A share (0 is perfect); NaN without rows or when nothing was sold."""
    total = float(np.abs(actual).sum())
    return float(np.abs(actual - forecast).sum()) / total if len(actual) and total > 0 else float("nan")


def pinball(actual: np.ndarray, forecast: np.ndarray, quantile: float) -> np.ndarray:
    """Loss of each row in units; `forecast` is of the given quantile."""
    error = actual - forecast
    return np.asarray(np.maximum(quantile * error, (quantile - 1) * error))


def mean_pinball(actual: np.ndarray, forecasts: np.ndarray, quantiles: Sequence[float] = QUANTILES) -> float:
    """Mean over rows and quantiles, in units; `forecasts` is [n, Q]. NaN without rows."""
    if not len(actual):
        return float("nan")
    return float(np.mean([pinball(actual, forecasts[:, i], q).mean() for i, q in enumerate(quantiles)]))


def coverage(actual: np.ndarray, forecasts: np.ndarray) -> list[float]:
    """Share of actuals at or below each quantile."""
    return [float((actual <= forecasts[:, i]).mean()) if len(actual) else float("nan") for i in range(forecasts.shape[1])]
