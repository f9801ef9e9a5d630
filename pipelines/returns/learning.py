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
from .network import Weights, fit, fresh, logits
from .parameters import Parameters
from .samples import WRONG, Lessons, Returns
from .scoring import answers

TASKS = {"category": len(CATEGORIES), "condition": WRONG}  # of `condition` what an image shows; a wrong item is no damage


def learn(lessons: Lessons, tasks: Mapping[str, int], parameters: Parameters, say: Callable[[str], None]) -> Weights:
    """A network with a head for each of `tasks`."""
    _keep_memory()
    weights = fresh(parameters.size, tasks, parameters.seed)
    with threadpool_limits(1):
        return fit(
            weights, lessons.images, lambda epoch: {t: lessons.labels(epoch)[t] for t in tasks}, parameters.schedule, say
        )


def judge(category: Weights, condition: Weights, held_out: Returns, parameters: Parameters) -> Judgement:
    """Temperatures of both heads, which may be of two networks, and the confidence below which people look."""
    with threadpool_limits(1):
        seen = {"category": logits(category, held_out.images)["category"]}
        seen["condition"] = logits(condition, held_out.images)["condition"]
    first = calibration.temperature(seen["category"], held_out.category)
    second = calibration.temperature(seen["condition"], held_out.damage)
    if category is not condition:
        return Judgement(first, second, 0.0)
    draft = graph(category, Judgement(first, second, 0.0), WRONG_SHARE).SerializeToString()
    made = answers(draft, held_out)
    threshold = calibration.threshold(made.confidence, made.right(held_out), parameters.wanted, parameters.most_reviewed)
    return Judgement(first, second, threshold)


def _keep_memory() -> None:
    """Ask the C library to keep freed memory: a step frees and takes the same megabytes, and a page costs more than its use."""
    tune = getattr(ctypes.CDLL(None), "mallopt", None)
    if tune is not None:
        tune(-3, 1 << 28)  # M_MMAP_THRESHOLD
        tune(-1, 1 << 30)  # M_TRIM_THRESHOLD


def chances(values: np.ndarray, temperature: float) -> np.ndarray:
    shifted = np.exp((values - values.max(axis=1, keepdims=True)) / temperature)
    return shifted / shifted.sum(axis=1, keepdims=True)
