"""Columns that all keys share at a time, such as the weather: a window of 500 rows has a handful of their values, not 500.

In the order of time such a column changes its value far more seldom than rows drawn at random would. Each stretch of equal
values is one value: so it is in the reference, in the window, and in the number that thresholds are for. Thresholds come from
runs of as many values one after the other, because tomorrow's weather is like today's.

Limit: of a reference with few such stretches nothing can be told, and the column is left open (`NOT_JUDGED`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tidegate.statistics.drift_columns import Column, drawn_distances

FEW = 0.5  # of the changes that rows in random order would have
BY_CHANCE = 20  # changes that a column must be expected to have before their absence says something
LEAST_BLOCKS = 4  # runs of the window's length that the reference must hold
NOT_JUDGED = 1e6  # no distance reaches it


def in_time(times: np.ndarray) -> np.ndarray:
    """Rows [n] in the order of their `times`, those of one time in any order (the same one each time)."""
    return np.lexsort((np.random.default_rng(0).permutation(len(times)), times))


def stretches(codes: np.ndarray) -> np.ndarray:
    """Places [k] at which codes [n], in the order of time, begin to be another value."""
    return np.flatnonzero(np.r_[True, codes[1:] != codes[:-1]]) if len(codes) else np.empty(0, dtype=np.intp)


def shared_columns(columns: Sequence[Column], order: np.ndarray) -> list[str]:
    """The columns that are shared, by their rows in `order` of time."""
    found = []
    for column in columns:
        shares = column.counts(slice(None)) / max(1, len(column.codes))
        by_chance = (len(order) - 1) * (1.0 - float(shares @ shares))
        changes = len(stretches(column.codes[order])) - 1
        if by_chance >= BY_CHANCE and changes <= FEW * by_chance:
            found.append(column.name)
    return found


def shared_draws(
    columns: Sequence[Column], order: np.ndarray, values: Mapping[str, int], draws: int
) -> tuple[np.ndarray, np.ndarray, float, list[str]]:
    """Distances and missing shares [D, 2 C] of runs of `values[name]` stretches from the other ones, where each begins (share
    of the reference, [D]), how many runs the reference holds, and which of the columns hold enough of them to be judged."""
    begins, measured, fitting, names = np.linspace(0.0, 1.0, draws), [], [], []
    for column in columns:
        codes = column.codes[order]
        codes = codes[stretches(codes)]
        k = max(1, values[column.name])
        if len(codes) < LEAST_BLOCKS * k:
            continue
        starts = np.round(begins * (len(codes) - k)).astype(np.intp)
        distinct, which = np.unique(starts, return_inverse=True)
        blocks = [np.arange(start, start + k) for start in distinct]
        part = Column(column.name, column.method, column.category, column.positions, codes)
        measured += list(drawn_distances(part, codes[starts[:, None] + np.arange(k)], blocks, which))
        fitting.append(len(codes) / k)
        names.append(column.name)
    table = np.stack(measured, axis=1) if measured else np.empty((draws, 0))
    return table, begins, min(fitting, default=0.0), names
