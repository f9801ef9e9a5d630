"""How much two models disagree by the kind of output, and how much of it is to be expected.

| kind | a disagreement of rows |
|---|---|
| quantity | sum abs(a - b) / sum abs(b) |
| label | share of values that differ |
| distribution | mean total variation, the last axis being the classes (one value: the probability of one of two) |
| score | 1 - Spearman's rank correlation |
| embedding | mean cosine distance |

A kind makes a few numbers of each row and a disagreement of any rows' numbers, so rows can be drawn again without the models.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

DRAWS = 200
SHARING = 8  # rows a time, on average, from which on a reference says that what is asked together has one time
RANKED = 2000  # rows at most whose ranks are compared in a draw
Rows = np.ndarray  # [n, w], what a kind keeps of each row


@dataclass(frozen=True)
class OutputKind:
    """`rows` makes [n, w] of two outputs [n, ...], `total` the disagreement of such rows, `each` that of each row [n] (by which
    the worst are found). `cap` is the largest that is let pass where nothing better is known."""

    name: str
    rows: Callable[[np.ndarray, np.ndarray], Rows]
    total: Callable[[Rows], float]
    each: Callable[[Rows], np.ndarray]
    cap: float


def kind_of(name: str, values: np.ndarray, named: Mapping[str, str]) -> OutputKind:
    """As `named` for this output; else numbers with fractions are quantities, and all else is a label."""
    numbers = values.dtype.kind in "iufb"
    kind = named.get(name) or ("quantity" if values.dtype.kind == "f" else "label")
    return KINDS[kind if numbers else "label"]


def disagreement(ours: np.ndarray, theirs: np.ndarray, kind: str = "quantity") -> float:
    """Of two outputs [n, ...]."""
    return KINDS[kind].total(KINDS[kind].rows(ours, theirs))


def expected_disagreement(
    kind: OutputKind, rows: Rows, times: np.ndarray | None, size: int, quantile: float, seed: int
) -> float:
    """The `quantile` of the disagreement of `size` rows that are asked together, from `rows` of a reference at `times` [n].

    Where a time of the reference holds many rows, live traffic has one time and so has each draw; else a draw is a stretch of
    time with as many rows as the window (or a fourth of the reference); without times, any rows.
    """
    rng = np.random.default_rng(seed)
    groups = None if times is None else _groups(times)
    draws = []
    for _ in range(DRAWS):
        if groups is None:
            chosen = rng.integers(len(rows), size=size)
        else:
            group = groups(rng, size)
            chosen = rng.choice(group, size)
        draws.append(kind.total(rows[chosen]))
    return float(np.quantile(draws, quantile))


def disagreement_limit(
    kind: OutputKind,
    rows: Rows,
    times: np.ndarray | None,
    size: int,
    quantile: float,
    seed: int,
    asked: np.ndarray | None = None,
) -> float:
    """What `size` rows may disagree, the larger of two expectations: rows that are asked together, and rows of the keys that
    were `asked` for (bool [n]), which may be the ones on which two good models differ most."""
    expected = expected_disagreement(kind, rows, times, size, quantile, seed)
    if asked is None or not asked.any():
        return expected
    # of few keys a moment holds too few rows to draw from: any moment will do
    return max(expected, expected_disagreement(kind, rows[asked], None, size, quantile, seed))


def _groups(times: np.ndarray) -> Callable[[np.random.Generator, int], np.ndarray]:
    """What draws the rows of one time, or of one stretch of time."""
    order = np.argsort(times, kind="stable")
    at_once = np.split(order, np.flatnonzero(np.diff(times[order])) + 1)
    if len(order) >= SHARING * len(at_once):
        return lambda rng, size: at_once[rng.integers(len(at_once))]

    def stretch(rng: np.random.Generator, size: int) -> np.ndarray:
        length = max(1, min(size, len(order) // 4))
        start = rng.integers(len(order) - length + 1)
        return order[start : start + length]

    return stretch


def _flat(values: np.ndarray) -> np.ndarray:
    return values.reshape(len(values), -1).astype(np.float64)


def _quantity(ours: np.ndarray, theirs: np.ndarray) -> Rows:
    """Summed difference and summed weight; values of the live release that are no numbers weigh nothing."""
    a, b = _flat(ours), _flat(theirs)
    usable = np.isfinite(b)
    difference = np.where(usable, np.abs(a - np.where(usable, b, 0.0)), 0.0)
    return np.stack([difference.sum(axis=1), np.where(usable, np.abs(b), 0.0).sum(axis=1)], axis=1)


def _relative(rows: Rows) -> float:
    difference, weight = rows.sum(axis=0)
    if weight == 0.0:
        return 0.0 if difference == 0.0 else float("inf")
    return float(difference / weight)


def _label(ours: np.ndarray, theirs: np.ndarray) -> Rows:
    return np.asarray((ours != theirs).reshape(len(ours), -1).mean(axis=1, keepdims=True), dtype=np.float64)


def _distribution(ours: np.ndarray, theirs: np.ndarray) -> Rows:
    a, b = (
        values.astype(np.float64).reshape(len(values), -1, values.shape[-1] if values.ndim > 1 else 1)
        for values in (ours, theirs)
    )
    half = 1.0 if a.shape[2] == 1 else 0.5
    return np.asarray(np.minimum(1.0, half * np.abs(a - b).sum(axis=2)).mean(axis=1, keepdims=True))


def _embedding(ours: np.ndarray, theirs: np.ndarray) -> Rows:
    a, b = _flat(ours), _flat(theirs)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        cosine = (a * b).sum(axis=1) / lengths
    return np.asarray(np.where(lengths > 0, 1.0 - cosine, (a != b).any(axis=1))[:, None])


def _scores(ours: np.ndarray, theirs: np.ndarray) -> Rows:
    return np.concatenate([_flat(ours), _flat(theirs)], axis=1)


def _by_rank(rows: Rows) -> float:
    chosen = rows if len(rows) <= RANKED else rows[np.linspace(0, len(rows) - 1, RANKED).astype(np.intp)]
    a, b = np.split(np.apply_along_axis(_ranks, 0, chosen), 2, axis=1)
    return float(np.mean([_uncorrelated(a[:, i], b[:, i]) for i in range(a.shape[1])]))


def _ranks(values: np.ndarray) -> np.ndarray:
    """Mid-ranks [n] from 0 to 1."""
    known = np.sort(values)
    return np.asarray((np.searchsorted(known, values, "left") + np.searchsorted(known, values, "right")) / (2.0 * len(known)))


def _uncorrelated(a: np.ndarray, b: np.ndarray) -> float:
    if np.array_equal(a, b):
        return 0.0
    spread = float(a.std() * b.std())
    return 1.0 if spread == 0.0 else float(1.0 - ((a - a.mean()) * (b - b.mean())).mean() / spread)


def _ranks_apart(rows: Rows) -> np.ndarray:
    a, b = np.split(np.apply_along_axis(_ranks, 0, rows), 2, axis=1)
    return np.asarray(np.abs(a - b).mean(axis=1))


def _mean(rows: Rows) -> float:
    return float(rows.mean())


def _first(rows: Rows) -> np.ndarray:
    return np.asarray(rows[:, 0])


KINDS: Mapping[str, OutputKind] = {
    kind.name: kind
    for kind in (
        OutputKind("quantity", _quantity, _relative, _first, 1e9),
        OutputKind("label", _label, _mean, _first, 0.3),
        OutputKind("distribution", _distribution, _mean, _first, 0.3),
        OutputKind("score", _scores, _by_rank, _ranks_apart, 0.5),
        OutputKind("embedding", _embedding, _mean, _first, 0.3),
    )
}


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
