"""From images of the training part to weights, and from those of the calibration part to a judgement of them.

One thread: the same seed gives the same weights, and a second thread of a matrix product this small only waits.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping

import numpy as np
from threadpoolctl import threadpool_limits

from . import calibration
from .damage import CATEGORIES, WRONG_SHARE
from .graph import Judgement, graph
from .network import Size, Weights, fit, fresh, logits
from .parameters import Parameters
from .samples import WRONG, Lessons, Returns, not_known
from .scoring import answers

TASKS = {"category": len(CATEGORIES), "condition": WRONG}  # of `condition` what an image shows; a wrong item is no damage


def learn(
    lessons: Lessons,
    tasks: Mapping[str, int],
    parameters: Parameters,
    say: Callable[[str], None],
    size: Size | None = None,
) -> Weights:
    """A network with a head for each of `tasks`, of the parameters' size unless told another."""
    _keep_memory()
    weights = fresh(size or parameters.size, tasks, parameters.seed)
    emphasis = {"condition": parameters.damage_emphasis}
    with threadpool_limits(1):
        return fit(weights, lessons.images, lambda epoch: lessons.labels(epoch, tasks), parameters.schedule, say, emphasis)


def seen(weights: Weights, images: np.ndarray) -> dict[str, np.ndarray]:
    """Logits of each head: the mean over an image and its mirror image."""
    with threadpool_limits(1):
        both = [logits(weights, view) for view in (images, images[:, :, ::-1])]
    return {task: (both[0][task] + both[1][task]) / 2 for task in both[0]}


def judge(weights: Weights, held_out: Returns, parameters: Parameters) -> Judgement:
    """Temperatures of both heads, and the confidences below which people look."""
    values = seen(weights, held_out.images)
    temperatures = (
        calibration.temperature(values["category"], held_out.category),
        calibration.temperature(values["condition"], held_out.damage),
    )
    draft = graph(weights, Judgement(*temperatures, 0.0, 0.0), WRONG_SHARE).SerializeToString()
    return Judgement(*temperatures, *(_threshold(draft, of, parameters) for of in (held_out, not_known(held_out))))


def _threshold(draft: bytes, held_out: Returns, parameters: Parameters) -> float:
    made = answers(draft, held_out)
    return calibration.threshold(made.confidence, made.right(held_out), parameters.wanted, parameters.most_reviewed)


def _keep_memory() -> None:
    """Ask the C library to keep freed memory: a step frees and takes the same megabytes, and a page costs more than its use."""
    tune = getattr(ctypes.CDLL(None), "mallopt", None)
    if tune is not None:
        tune(-3, 1 << 28)  # M_MMAP_THRESHOLD
        tune(-1, 1 << 30)  # M_TRIM_THRESHOLD


def chances(values: np.ndarray, temperature: float) -> np.ndarray:
    shifted = np.exp((values - values.max(axis=1, keepdims=True)) / temperature)
    return shifted / shifted.sum(axis=1, keepdims=True)
