"""Columns of a reference and the distances of many samples from it, all draws of a column at once.

A column is held as codes of its distinct values, the last code, U, standing for missing. Numbers are compared as
`statistics.distances` says; categories (texts, and numbers that are named to be ones) by Jensen-Shannon over all their values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tidegate.statistics.distances import DISTANCES, JENSENSHANNON, WASSERSTEIN, comparable, finite, method_for

AT_ONCE = 64_000  # counts


@dataclass(frozen=True)
class Column:
    """`positions` [U] are sorted, in the form that is compared; `codes` int [rows]."""

    name: str
    method: str
    category: bool
    positions: np.ndarray
    codes: np.ndarray

    def counts(self, rows: np.ndarray | slice) -> np.ndarray:
        """[U + 1]: how often each value occurs in `rows`, the missing ones last."""
        return np.bincount(self.codes[rows], minlength=len(self.positions) + 1)


def is_category(values: np.ndarray) -> bool:
    """Whether `values` are texts: numbers come as numbers."""
    return values.dtype.kind not in "iufb"


def column_of(name: str, values: np.ndarray) -> Column:
    """Of `values` [rows]: numbers with NaN, or objects (texts) with None, for what is missing."""
    if is_category(values):
        present = np.array([value is not None for value in values], dtype=bool)
        known = values[present].astype(str)
        names, found = np.unique(known, return_inverse=True)
        return Column(name, JENSENSHANNON, True, np.arange(len(names), dtype=float), _codes(present, found, len(names)))
    method = method_for(finite(values))
    compared = comparable(values, finite(values), method)
    present = ~np.isnan(compared)
    positions, found = np.unique(compared[present], return_inverse=True)
    return Column(name, method, False, positions, _codes(present, found, len(positions)))


def _codes(present: np.ndarray, found: np.ndarray, missing: int) -> np.ndarray:
    codes = np.full(len(present), missing, dtype=np.int32)
    codes[present] = found
    return codes


def drawn_distances(
    column: Column, codes: np.ndarray, blocks: Sequence[np.ndarray], which: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Distances [D] of the values, and differences [D] of the shares of missing ones, of D samples from all rows but a block.

    `codes` [D, n] are the samples' values, and sample d is compared with what remains without the rows `blocks[which[d]]`.
    """
    missing, width = len(column.positions), len(column.positions) + 1
    distances, shares = np.zeros(len(codes)), np.empty(len(codes))
    measure = ALL_AT_ONCE.get(column.method, _one_by_one)
    step = max(1, AT_ONCE // width)
    for first in range(0, len(blocks), step):  # few blocks at a time: what is worked on stays near
        rests = _rests(column, blocks[first : first + step])
        of = np.flatnonzero((which >= first) & (which < first + step))
        part, place = codes[of], which[of] - first
        absent = (part == missing).sum(axis=1)
        shares[of] = np.abs(absent / codes.shape[1] - (rests[:, -1] / rests.sum(axis=1))[place])
        use = (absent < codes.shape[1]) & rests[place, :-1].any(axis=1)  # else there is nothing to compare
        if use.any():
            sizes = codes.shape[1] - absent[use]
            distances[of[use]] = measure(column, part[use], rests[:, :-1], place[use], sizes)
    return distances, shares


def _rests(column: Column, blocks: Sequence[np.ndarray]) -> np.ndarray:
    """Counts [B, U + 1] of all rows but those of each block."""
    width = len(column.positions) + 1
    of = np.repeat(np.arange(len(blocks), dtype=np.int64) * width, [len(rows) for rows in blocks])
    inside = np.bincount(column.codes[np.concatenate(blocks)] + of, minlength=width * len(blocks)).reshape(-1, width)
    return np.asarray(column.counts(slice(None)) - inside)


def _wasserstein(column: Column, codes: np.ndarray, rests: np.ndarray, which: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """`counted_wasserstein` by the sample's own points: between two of them its distribution is constant and the rest's only
    rises, so the area between is known from the rest's integral and the one place where they cross."""
    positions, last, n = column.positions, len(column.positions) - 1, codes.shape[1]
    totals = np.maximum(rests.sum(axis=1), 1).astype(float)
    below = rests.astype(float)  # [B, U]
    np.cumsum(below, axis=1, out=below)
    below /= totals[:, None]
    area = np.zeros_like(below)
    np.multiply(below[:, :-1], np.diff(positions), out=area[:, 1:])
    np.cumsum(area, axis=1, out=area)
    points = np.minimum(np.sort(codes, axis=1), last)  # missing ones come last, and weigh nothing
    levels = np.arange(1, n) / sizes[:, None]  # of the sample between its points i and i + 1
    cross = np.empty((len(codes), n - 1), dtype=np.int32)
    known: dict[tuple[int, int], np.ndarray] = {}
    for d, key in enumerate(zip(which.tolist(), sizes.tolist(), strict=True)):
        if key not in known:
            known[key] = np.searchsorted(below[key[0]], levels[d], "right")
        cross[d] = known[key]
    np.clip(cross, points[:, :-1], points[:, 1:], out=cross)
    row = (which * (last + 1))[:, None]
    at, at_cross = area.ravel().take(points + row), area.ravel().take(cross + row)
    place = positions.take(points)
    middle = 2.0 * positions.take(cross)
    middle -= place[:, :-1]
    middle -= place[:, 1:]
    middle *= levels
    at_cross *= 2.0
    middle -= at_cross
    middle += at[:, :-1]
    middle += at[:, 1:]
    if sizes.min() < n:
        middle[np.arange(1, n) >= sizes[:, None]] = 0.0
    end = np.arange(len(codes)), sizes - 1
    before, after = at[:, 0], (positions[last] - place[end]) - (area[which, last] - at[end])
    centre = positions @ rests.sum(axis=0) / totals.sum()
    mean = rests @ (positions - centre) / totals
    spread = np.sqrt(np.maximum(0.0, rests @ (positions - centre) ** 2 / totals - mean**2))
    return np.asarray((before + middle.sum(axis=1) + after) / np.maximum(spread, 0.001)[which])


def _jensenshannon(column: Column, codes: np.ndarray, rests: np.ndarray, which: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    width, at_once = len(column.positions) + 1, max(1, 10 * AT_ONCE // len(column.positions))
    shares = rests / np.maximum(rests.sum(axis=1, keepdims=True), 1)
    parts = []
    for start in range(0, len(codes), at_once):
        chosen = slice(start, start + at_once)
        flat = codes[chosen] + width * np.arange(len(codes[chosen]), dtype=np.int64)[:, None]
        counts = np.bincount(flat.ravel(), minlength=width * len(codes[chosen])).reshape(-1, width)[:, :-1]
        parts.append(jensenshannon_rows(shares[which[chosen]], counts / sizes[chosen, None]))
    return np.concatenate(parts)


def jensenshannon_rows(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Jensen-Shannon distance (base e) of each row of shares [D, U]."""
    middle = (p + q) / 2.0
    with np.errstate(divide="ignore", invalid="ignore"):
        left = np.where(p > 0, p * np.log(p / middle), 0.0).sum(axis=1)
        right = np.where(q > 0, q * np.log(q / middle), 0.0).sum(axis=1)
    return np.asarray(np.sqrt(np.maximum(0.0, (left + right) / 2.0)))


def expected_by_chance(column: Column, size: int, seed: int, trials: int = 60) -> float:
    """Root mean square Jensen-Shannon distance of `size` values drawn from the column itself: with many values it is far from
    zero, and no difference of two samples."""
    counts = column.counts(slice(None))[:-1]
    if len(counts) < 2:
        return 0.0
    shares = counts / counts.sum()
    drawn = np.random.default_rng([seed, 500]).multinomial(size, shares, trials) / size
    return float(np.sqrt((jensenshannon_rows(np.broadcast_to(shares, drawn.shape), drawn) ** 2).mean()))


def _one_by_one(column: Column, codes: np.ndarray, rests: np.ndarray, which: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Any distance, by its own formula: slower than those that have one for all draws."""
    counted, width = DISTANCES[column.method].counted, len(column.positions) + 1
    samples = (np.bincount(each, minlength=width)[:-1] for each in codes)
    return np.array([counted(column.positions, rests[at], sample) for sample, at in zip(samples, which, strict=True)])


ALL_AT_ONCE = {WASSERSTEIN: _wasserstein, JENSENSHANNON: _jensenshannon}
