"""Damage to product images, made by stated operations from a seed: a stain, a tear, a blur, or the wrong item.

An image is [28, 28] uint8, the item bright on black. Each operation takes images and a generator and gives new images; the same
seed gives the same bytes. A return is `ordered` (what the customer had ordered), the image of what came back, its category and
its condition. What is wrong about a return is one thing: a wrong item is named before its damage.
"""

from __future__ import annotations

import numpy as np

CATEGORIES = ("t_shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle_boot")
CONDITIONS = ("intact", "stained", "torn", "blurred", "wrong_item")
DAMAGE_SHARES = (1 / 2, 1 / 6, 1 / 6, 1 / 6)  # of intact, stained, torn and blurred images
WRONG_SHARE = 0.10  # of returns whose item is of another category than what was ordered, each other one as likely
SIDE = 28
ON_ITEM = 40  # a brighter pixel belongs to the item

_ROWS, _COLUMNS = np.mgrid[0:SIDE, 0:SIDE].astype(np.float64)


def stained(image: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A dark or a light blot of 3 to 5 pixels' radius on the item, with an uneven edge."""
    row, column = _somewhere_on(image, random)
    radius = random.uniform(3.0, 5.0)
    angle = np.arctan2(_ROWS - row, _COLUMNS - column)
    edge = radius * (1 + 0.25 * np.sin(random.integers(2, 5) * angle + random.uniform(0, 2 * np.pi)))
    inside = np.clip(edge - np.hypot(_ROWS - row, _COLUMNS - column) + 0.5, 0, 1) * (image > ON_ITEM)
    tone = image[image > ON_ITEM].mean() if (image > ON_ITEM).any() else 0.0
    shade = random.uniform(0.05, 0.3) * tone if tone > 110 else min(255.0, tone + random.uniform(90, 140))
    return _bytes(image * (1 - inside) + shade * inside)


def torn(image: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A jagged slit, 12 to 20 pixels long and 2 to 3.5 wide, through which the background shows."""
    row, column = _somewhere_on(image, random)
    direction = random.uniform(0, np.pi)
    steps = int(random.integers(12, 21)) * 2
    wander = np.cumsum(random.normal(0, 0.35, steps))
    along = (np.arange(steps) - steps / 2) / 2
    rows = row + along * np.sin(direction) + wander * np.cos(direction) * 0.5
    columns = column + along * np.cos(direction) - wander * np.sin(direction) * 0.5
    half = random.uniform(1.0, 1.5)
    squares = (_ROWS[:, :1] - rows)[:, None, :] ** 2 + (_COLUMNS[0][:, None] - columns)[None, :, :] ** 2
    distance = np.sqrt(squares.min(axis=-1))
    return _bytes(image * (1 - np.clip(half - distance + 0.5, 0, 1)))


def blurred(image: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Out of focus: a Gaussian of 1.3 to 2.2 pixels."""
    sigma = random.uniform(1.3, 2.2)
    offsets = np.arange(-6, 7)
    kernel = np.exp(-(offsets**2) / (2 * sigma**2))
    kernel /= kernel.sum()
    padded = np.pad(image.astype(np.float64), 6)
    rows = sum(weight * padded[6 + o : 6 + o + SIDE, :] for o, weight in zip(offsets, kernel, strict=True))
    return _bytes(sum(weight * rows[:, 6 + o : 6 + o + SIDE] for o, weight in zip(offsets, kernel, strict=True)))


DAMAGES = (lambda image, random: image, stained, torn, blurred)


def damaged(images: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images with the damage that the seed draws for each, and which: an index into CONDITIONS, never `wrong_item`."""
    random = np.random.default_rng(seed)
    which = random.choice(len(DAMAGES), size=len(images), p=DAMAGE_SHARES)
    made = [DAMAGES[kind](image, random) for image, kind in zip(images, which, strict=True)]
    return np.array(made, dtype=np.uint8).reshape(-1, SIDE, SIDE), which


def pairs(images: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Each image twice, one after the other: as it is, and with a damage. What differs between the two is the damage alone."""
    random = np.random.default_rng(seed)
    both, which = np.repeat(images, 2, axis=0), np.zeros(2 * len(images), dtype=np.int64)
    which[1::2] = random.integers(1, len(DAMAGES), size=len(images))
    both[1::2] = [DAMAGES[kind](image, random) for image, kind in zip(images, which[1::2], strict=True)]
    return both, which


def ordered(categories: np.ndarray, seed: int) -> np.ndarray:
    """What had been ordered where an item of `categories` came back: for WRONG_SHARE of them another category."""
    random = np.random.default_rng(seed)
    others = (categories + random.integers(1, len(CATEGORIES), size=len(categories))) % len(CATEGORIES)
    return np.where(random.random(len(categories)) < WRONG_SHARE, others, categories).astype(np.int64)


def _somewhere_on(image: np.ndarray, random: np.random.Generator) -> tuple[int, int]:
    """A pixel of the item that has the item around it; the middle of an image without one."""
    item = image > ON_ITEM
    inner = item.copy()
    inner[1:-1, 1:-1] &= item[:-2, 1:-1] & item[2:, 1:-1] & item[1:-1, :-2] & item[1:-1, 2:]
    for mask in (inner, item):
        places = np.argwhere(mask)
        if len(places):
            row, column = places[random.integers(len(places))]
            return int(row), int(column)
    return SIDE // 2, SIDE // 2


def _bytes(image: np.ndarray) -> np.ndarray:
    rounded: np.ndarray = np.clip(np.rint(image), 0, 255)
    return rounded.astype(np.uint8)
