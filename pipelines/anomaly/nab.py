"""NAB's score of a detector, as the Numenta Anomaly Benchmark 1.1 computes it (github.com/numenta/NAB, nab/sweeper.py and
nab/runner.py, MIT licence), vectorised.

Each labelled window counts once: by its earliest detection, with `2 * sigmoid(-5 * position) - 1` where the position is -1 at
the window's start and 0 at its end, as a share of its value at -1; a window without a detection costs its weight. Each
detection outside windows costs a weight times the same curve of its distance behind the last window in units of that window's
length, and all of the weight three lengths on or where no window came before. The first 15 % of a series (of 5,000 rows at
most) do not count. Scores are put on the scale where no detection at all is 0 and a perfect detector 100.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

PROBATION = 0.15
PROBATION_ROWS = 5000
OUTSIDE, ON_PROBATION = -1, -2
ABOVE_ALL = 1.1  # a threshold that no score reaches


@dataclass(frozen=True)
class Profile:
    """What a detected window earns, what a false detection and a missed window cost."""

    name: str
    hit: float
    false: float
    missed: float


STANDARD = Profile("standard", 1.0, 0.11, 1.0)
LOW_FP = Profile("reward_low_FP_rate", 1.0, 0.22, 1.0)
LOW_FN = Profile("reward_low_FN_rate", 1.0, 0.11, 2.0)
PROFILES = (STANDARD, LOW_FP, LOW_FN)


@dataclass(frozen=True)
class Series:
    """Scores of a series' rows, and the first and last row of each labelled window, in order."""

    scores: np.ndarray
    windows: Sequence[tuple[int, int]]


@dataclass(frozen=True)
class Points:
    """Rows of all series: the score, what a detection there is worth before weights, and which window it lies in."""

    scores: np.ndarray
    worth: np.ndarray
    window: np.ndarray
    windows: int


def probation(rows: int) -> int:
    """How many rows at a series' start do not count."""
    return int(np.ceil(min(np.floor(PROBATION * rows), PROBATION * PROBATION_ROWS)))


def curve(position: np.ndarray) -> np.ndarray:
    """2 * sigmoid(-5 * position) - 1, and -1 beyond 3."""
    position = np.asarray(position, dtype=np.float64)
    return np.where(position > 3.0, -1.0, 2 / (1 + np.exp(5 * np.minimum(position, 3.0))) - 1)


def points(corpus: Sequence[Series]) -> Points:
    worths, members, count = [], [], 0
    for series in corpus:
        worth, member = _worth(len(series.scores), series.windows)
        member = np.where(member >= 0, member + count, member)
        member[: probation(len(member))] = ON_PROBATION
        worths.append(worth)
        members.append(member)
        count += len(series.windows)
    return Points(
        np.concatenate([s.scores for s in corpus]).astype(np.float64), np.concatenate(worths), np.concatenate(members), count
    )


def _worth(rows: int, windows: Sequence[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    worth, member = np.full(rows, -1.0), np.full(rows, OUTSIDE)
    at = np.arange(rows, dtype=np.float64)
    for number, (first, last) in enumerate(windows):
        width = last - first + 1
        inside = slice(first, last + 1)
        worth[inside] = curve(-(last - at[inside] + 1) / width) / curve(np.array(-1.0))
        member[inside] = number
        following = windows[number + 1][0] if number + 1 < len(windows) else rows
        behind = slice(last + 1, following)
        worth[behind] = curve((at[behind] - last) / (width - 1))
    return worth, member


def raw(found: Points, threshold: float, profile: Profile) -> float:
    """The sum over windows and false detections: a row is a detection when its score is at least `threshold`."""
    detected = found.scores >= threshold
    false = found.worth[detected & (found.window == OUTSIDE)].sum() * profile.false
    best = np.full(_counted(found), -np.inf)
    inside = detected & (found.window >= 0)
    np.maximum.at(best, _compact(found)[found.window[inside]], found.worth[inside])
    return float(false + np.where(np.isneginf(best), -profile.missed, best * profile.hit).sum())


def normalised(found: Points, value: float, profile: Profile) -> float:
    """On the scale where the null detector is 0 and a perfect one 100; perfect counts every labelled window."""
    nothing = -profile.missed * _counted(found)
    return 100 * (value - nothing) / (found.windows * profile.hit - nothing)


def score(found: Points, threshold: float, profile: Profile) -> float:
    return normalised(found, raw(found, threshold, profile), profile)


def best_threshold(found: Points, profile: Profile) -> float:
    """The threshold with the highest score over these points: how the thresholds of published detectors were chosen."""
    counted = np.flatnonzero(found.window != ON_PROBATION)
    order = counted[np.argsort(-found.scores[counted], kind="stable")]
    best = np.full(found.windows, np.nan)
    total, values = -profile.missed * _counted(found), []
    for row in order:
        number = found.window[row]
        if number == OUTSIDE:
            total += found.worth[row] * profile.false
        else:
            worth = found.worth[row] * profile.hit
            before = -profile.missed if np.isnan(best[number]) else best[number]
            best[number] = max(before, worth)
            total += best[number] - before
        values.append(total)
    scores = found.scores[order]
    last = np.append(scores[1:] != scores[:-1], True)
    candidates = np.flatnonzero(last)
    chosen = candidates[np.argmax(np.asarray(values)[candidates])]
    return float(scores[chosen]) if values[chosen] >= -profile.missed * _counted(found) else ABOVE_ALL


def _counted(found: Points) -> int:
    """Windows that have a row after the probation."""
    return int((_compact(found) >= 0).sum())


def _compact(found: Points) -> np.ndarray:
    seen = np.zeros(found.windows, dtype=bool)
    seen[found.window[found.window >= 0]] = True
    return np.where(seen, np.cumsum(seen) - 1, -1)
