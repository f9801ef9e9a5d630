"""Forecasts that a model must beat, each from days before its origin alone, vectorised over SKUs.

    seasonal_naive   units of the same weekday in the last known week
    mean_28          mean of the last 28 days
    croston_sba      Croston's method with the Syntetos-Boylan approximation, f = (1 - alpha/2) z / p, alpha = 0.1: smoothed
                     size of demand z over smoothed interval p (Croston 1972; Syntetos & Boylan, Int. J. Forecasting 21, 2005)

Their quantiles are the point forecast plus empirical quantiles of its residuals at past origins, whose targets were all
known at the origin, by SKU; never below 0, never crossing.
"""

from __future__ import annotations

import numpy as np

from .names import BASELINES, QUANTILES

ALPHA = 0.1
WEEK, MONTH = 7, 28


def seasonal_naive(units: np.ndarray, origin: int, steps: int) -> np.ndarray:
    """[SKUs, steps]."""
    if origin < WEEK:
        raise ValueError(f"origin {origin} has no whole week before it")
    last_week = units[:, origin - WEEK : origin]
    return np.asarray(last_week[:, np.arange(steps) % WEEK])


def mean_28(units: np.ndarray, origin: int, steps: int) -> np.ndarray:
    return np.repeat(units[:, max(0, origin - MONTH) : origin].mean(axis=1)[:, None], steps, axis=1)


class CrostonSba:
    """State of all SKUs after each day, computed once: `forecast(origin)` is then a look-up."""

    def __init__(self, units: np.ndarray, alpha: float = ALPHA) -> None:
        skus, days = units.shape
        size, interval, since = np.zeros(skus), np.ones(skus), np.ones(skus)
        started = np.zeros(skus, dtype=bool)
        self._forecasts = np.zeros((days + 1, skus))
        for day in range(days):
            demand = units[:, day]
            sold = demand > 0
            first = sold & ~started
            later = sold & started
            size = np.where(first, demand, np.where(later, size + alpha * (demand - size), size))
            interval = np.where(first, 1.0, np.where(later, interval + alpha * (since - interval), interval))
            since = np.where(sold, 1.0, since + 1)
            started |= sold
            self._forecasts[day + 1] = np.where(started, (1 - alpha / 2) * size / interval, 0.0)

    def forecast(self, origin: int, steps: int) -> np.ndarray:
        return np.repeat(self._forecasts[origin][:, None], steps, axis=1)


class Baselines:
    """All baselines of one panel; `units` is [SKUs, days]."""

    def __init__(self, units: np.ndarray, residual_origins: int) -> None:
        self._units = units
        self._croston = CrostonSba(units)
        self._residual_origins = residual_origins

    def points(self, origin: int, steps: int) -> dict[str, np.ndarray]:
        """Point forecasts [SKUs, steps] by baseline."""
        values = (
            seasonal_naive(self._units, origin, steps),
            mean_28(self._units, origin, steps),
            self._croston.forecast(origin, steps),
        )
        return dict(zip(BASELINES, values, strict=True))

    def quantiles(self, origin: int, steps: int) -> dict[str, np.ndarray]:
        """[SKUs, steps, 3] by baseline."""
        past = [origin - steps - WEEK * k for k in range(self._residual_origins)]
        residuals: dict[str, list[np.ndarray]] = {name: [] for name in BASELINES}
        for then in past:
            if then < MONTH:
                break
            actual = self._units[:, then : then + steps]
            for name, point in self.points(then, steps).items():
                residuals[name].append(actual - point)
        result = {}
        for name, point in self.points(origin, steps).items():
            if not residuals[name]:
                raise ValueError(f"origin {origin} has no earlier origin to take residuals from")
            spread = np.quantile(np.concatenate(residuals[name], axis=1), QUANTILES, axis=1)  # [3, SKUs]
            result[name] = np.clip(point[:, :, None] + spread.T[:, None, :], 0, None)
        return result
