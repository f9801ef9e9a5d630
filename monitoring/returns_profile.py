"""What drift is judged on: an image by its light, its size and its sharpness."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

ON_ITEM = 40  # a brighter pixel belongs to the item


def profile(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Of `images` [n, 28, 28]: mean brightness, brightness of the item, the share of pixels that it takes, the spread of its
    brightness, and how sharp it is: the mean step between neighbouring pixels as a share of the brightness."""
    images = np.asarray(tensors["images"], dtype=np.float64)
    item = images > ON_ITEM
    count = np.maximum(item.sum(axis=(1, 2)), 1)
    light = (images * item).sum(axis=(1, 2)) / count
    spread = np.sqrt(np.maximum((images**2 * item).sum(axis=(1, 2)) / count - light**2, 0))
    steps = np.abs(np.diff(images, axis=2)).mean(axis=(1, 2)) + np.abs(np.diff(images, axis=1)).mean(axis=(1, 2))
    brightness = images.mean(axis=(1, 2))
    return {
        "brightness": brightness,
        "item_brightness": light,
        "item_share": item.mean(axis=(1, 2)),
        "item_spread": spread,
        "sharpness": steps / np.maximum(brightness, 1.0),
    }
