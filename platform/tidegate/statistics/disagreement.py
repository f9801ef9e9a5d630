"""How much two models disagree, and how much of it is to be expected."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

DRAWS = 200


def disagreement(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Weighted absolute difference sum|a - b| / sum|b| over all values; infinite where only b is zero throughout."""
    difference = float(np.abs(ours.astype(np.float64) - theirs).sum())
    weight = float(np.abs(theirs.astype(np.float64)).sum())
    if weight == 0.0:
        return 0.0 if difference == 0.0 else float("inf")
    return difference / weight


def expected_disagreement(
    ours: np.ndarray, theirs: np.ndarray, times: np.ndarray, rows: int, quantile: float, seed: int
) -> float:
    """The `quantile` of the disagreement of `rows` rows that share one event timestamp, as live traffic does.

    Outputs are [n, ...], `times` [n]. Block bootstrap over event timestamps: each draw takes one and samples rows of it.
    """
    rng = np.random.default_rng(seed)
    order = np.argsort(times, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(times[order])) + 1)
    draws = []
    for _ in range(DRAWS):
        chosen = rng.choice(groups[rng.integers(len(groups))], rows)
        draws.append(disagreement(ours[chosen], theirs[chosen]))
    return float(np.quantile(draws, quantile))


def disagreement_limit(
    ours: np.ndarray,
    theirs: np.ndarray,
    times: np.ndarray,
    rows: int,
    quantile: float,
    seed: int,
    asked: np.ndarray | None = None,
) -> float:
    """What `rows` rows may disagree, the larger of two expectations: rows of one event timestamp, and rows of the keys that
    were `asked` for (bool [n]), which may be the ones on which two good models differ most."""
    expected = expected_disagreement(ours, theirs, times, rows, quantile, seed)
    if asked is None or not asked.any():
        return expected
    moments = np.zeros(int(asked.sum()))  # of few keys a moment holds too few rows to draw from: any moment will do
    return max(expected, expected_disagreement(ours[asked], theirs[asked], moments, rows, quantile, seed))


def differing_features(ours: np.ndarray, theirs: np.ndarray, names: Sequence[str]) -> list[str]:
    """Notes on columns of [n, F] that differ, most often first: `price 97% of rows, typically x100`."""
    same = (ours == theirs) | (np.isnan(ours) & np.isnan(theirs))
    shares = 1.0 - same.mean(axis=0)
    notes = []
    for i in np.argsort(-shares, kind="stable"):
        if shares[i] == 0.0:
            break
        usable = ~same[:, i] & np.isfinite(ours[:, i]) & np.isfinite(theirs[:, i]) & (theirs[:, i] != 0)
        typical = f", typically x{np.median(ours[usable, i] / theirs[usable, i]):.3g}" if usable.any() else ""
        notes.append(f"{names[i]} in {shares[i]:.0%} of rows{typical}")
    return notes
