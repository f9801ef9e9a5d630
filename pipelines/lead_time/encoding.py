"""Categories as numbers: what a category stands for is the median of the days it took, drawn to the median of all.

Categories with few rows, and those that training has not seen, are missing (NaN): the trees say where missing values go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

MIN_ROWS, PRIOR_ROWS = 15, 20.0

Codes = Mapping[str, Mapping[str, float]]  # column -> category -> number


def codes(rows: pl.DataFrame, columns: Sequence[str], target: str) -> Codes:
    """By column, the number of each category with at least MIN_ROWS rows; in alphabetical order."""
    overall = rows[target].median()
    found = {}
    for column in columns:
        groups = rows.group_by(column).agg(n=pl.len(), median=pl.col(target).median()).filter(pl.col("n") >= MIN_ROWS)
        drawn = (pl.col("median") * pl.col("n") + PRIOR_ROWS * overall) / (pl.col("n") + PRIOR_ROWS)
        known = groups.filter(pl.col(column).is_not_null()).select(column, drawn.cast(pl.Float32).alias("code")).sort(column)
        found[column] = dict(known.iter_rows())
    return found


def encoded(rows: pl.DataFrame, columns: Codes) -> np.ndarray:
    """float32 [n, columns], NaN where a category has no number."""
    if not columns:
        return np.empty((len(rows), 0), np.float32)
    parts = [
        rows[name].replace_strict(dict(known), default=None, return_dtype=pl.Float32).fill_null(np.nan).to_numpy()
        if known
        else np.full(len(rows), np.nan, np.float32)
        for name, known in columns.items()
    ]
    return np.stack(parts, axis=1).astype(np.float32)
