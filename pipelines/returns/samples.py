"""Returns for training and for judging, made of product images: which part an image belongs to, and what happened to it.

An image belongs to one part for ever, by a digest of its number, so that no item that is trained on is ever judged. Training
sees each item twice, intact and damaged; it is damaged, mirrored and moved anew each epoch (after as many epochs as there are
draws, damage comes back). What is judged is drawn once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from .damage import CATEGORIES, CONDITIONS, SIDE, damaged, ordered, pairs

TRAINING, CALIBRATION, TEST = "training", "calibration", "test"
UNKNOWN = -1  # of `ordered`
WRONG = CONDITIONS.index("wrong_item")


@dataclass(frozen=True)
class Returns:
    """What came back: images [n, 28, 28] with what was ordered, and what is true of them."""

    images: np.ndarray
    ordered: np.ndarray
    category: np.ndarray
    damage: np.ndarray  # an index into CONDITIONS, never `wrong_item`

    @property
    def condition(self) -> np.ndarray:
        return np.where((self.ordered != self.category) & (self.ordered != UNKNOWN), WRONG, self.damage)


def part(item: str) -> str:
    """Four fifths of all items are trained on, a tenth calibrates, a tenth is judged."""
    place = int(hashlib.sha256(item.encode()).hexdigest()[:8], 16) % 10
    return {0: CALIBRATION, 1: TEST}.get(place, TRAINING)


def parts(items: Sequence[str]) -> np.ndarray:
    return np.array([part(item) for item in items])


def returned(images: np.ndarray, category: np.ndarray, seed: int, times: int = 1) -> Returns:
    """Each image `times` times, each time with damage and an order of its own."""
    images, category = np.tile(images, (times, 1, 1)), np.tile(category, times)
    shown, damage = damaged(images, seed)
    return Returns(shown, ordered(category, seed + 1), category, damage)


def not_known(returns: Returns) -> Returns:
    """The same where nobody knows what was ordered, and so no item can be wrong."""
    return Returns(returns.images, np.full_like(returns.ordered, UNKNOWN), returns.category, returns.damage)


def by_order(order: np.ndarray, condition: np.ndarray) -> np.ndarray:
    """[n, damages + categories]: one where it is true, NaN of what was not ordered, zero else."""
    rows = np.arange(len(order))
    out = np.full((len(order), WRONG + len(CATEGORIES)), np.nan, np.float32)
    out[:, :WRONG], out[rows, WRONG + order] = 0, 0
    out[rows, np.where(condition == WRONG, WRONG + order, condition)] = 1
    return out


class Lessons:
    """The rows of each epoch: images and labels, in pairs of one item."""

    def __init__(self, images: np.ndarray, category: np.ndarray, draws: int, seed: int) -> None:
        self._seed = seed
        self._draws = [pairs(images, seed + 100 + draw) for draw in range(draws)]
        self._category = np.eye(len(CATEGORIES), dtype=np.float32)[np.repeat(category, 2)]

    @property
    def items(self) -> int:
        return len(self._category) // 2

    def images(self, epoch: int) -> np.ndarray:
        images, _ = self._draws[epoch % len(self._draws)]
        return moved(images, np.random.default_rng([self._seed, epoch]))

    def labels(self, epoch: int, tasks: Iterable[str]) -> dict[str, np.ndarray]:
        _, damage = self._draws[epoch % len(self._draws)]
        makers: dict[str, Callable[[], np.ndarray]] = {
            "category": lambda: self._category,
            "condition": lambda: np.eye(WRONG, dtype=np.float32)[damage],
            "condition_by_order": lambda: self._by_order(epoch, damage),
        }
        return {task: makers[task]() for task in tasks}

    def _by_order(self, epoch: int, damage: np.ndarray) -> np.ndarray:
        """The condition as one learns it without categories, of orders drawn anew: a damage, or one column for each category
        that was ordered and did not come back; columns of other orders are out of the question."""
        category = self._category.argmax(axis=1)
        order = ordered(category, self._seed + 1000 + epoch)
        return by_order(order, np.where(order == category, damage, WRONG))


def moved(images: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Half of the images mirrored, all moved by up to a pixel either way; both of a pair alike."""
    count = len(images) // 2
    mirrored = np.repeat(random.random(count) < 0.5, 2)
    shifts = np.repeat(random.integers(0, 3, size=(count, 2)), 2, axis=0)
    out = np.where(mirrored[:, None, None], images[:, :, ::-1], images)
    padded = np.pad(out, ((0, 0), (1, 1), (1, 1)))
    rows = shifts[:, 0, None] + np.arange(SIDE)
    columns = shifts[:, 1, None] + np.arange(SIDE)
    return padded[np.arange(len(images))[:, None, None], rows[:, :, None], columns[:, None, :]]
