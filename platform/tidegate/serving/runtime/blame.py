"""Whose fault it is that a prediction failed: the request's, where other values in the place of its own are answered.

Stored features and code are then what they were, so that what the client chose is all that made the difference. Where no other
value helps, it is the release's fault. Nothing is remembered from other requests. It costs a few predictions more, of as many
rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

ORDINARY = (0, 1)  # what is tried in the place of a number
ORDINARY_TEXTS = ("", "0")
NAMED = 8  # inputs that are looked at one by one
Arrays = Mapping[str, np.ndarray]


def blamed_inputs(given: Arrays, answers: Callable[[Arrays], bool]) -> tuple[str, ...]:
    """The names of those of the request's inputs that kept it from an answer; none when it was the release.

    `answers` says whether the prediction succeeds with other arrays of the same shapes.
    """
    for round in range(len(ORDINARY)):
        others = {name: _ordinary(array, round) for name, array in given.items()}
        if given and answers(others):
            alone = [name for name in list(given)[:NAMED] if len(given) == 1 or answers({**given, name: others[name]})]
            return tuple(alone) or tuple(given)
    return ()


def _ordinary(array: np.ndarray, round: int) -> np.ndarray:
    value = ORDINARY_TEXTS[round] if array.dtype.kind == "O" else ORDINARY[round]
    return np.full(array.shape, value, dtype=array.dtype)
