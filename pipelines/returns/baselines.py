"""What the model has to beat: believing the order, and a model for each answer alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .damage import CATEGORIES, DAMAGE_SHARES, WRONG_SHARE
from .graph import priors
from .learning import TASKS, chances, judge, learn
from .network import logits
from .parameters import Parameters
from .samples import Lessons, Returns
from .scoring import Answers

ORDER, SINGLE_TASK = "order", "single_task"


def believing_the_order(returns: Returns) -> Answers:
    """The shares that returns of each order have, whatever the image shows."""
    n = len(returns.ordered)
    condition = np.append((1 - WRONG_SHARE) * np.array(DAMAGE_SHARES), WRONG_SHARE)
    category = priors(len(CATEGORIES), WRONG_SHARE)[returns.ordered]
    return Answers(category, np.tile(condition, (n, 1)), np.ones(n, dtype=bool))


def one_model_each(
    lessons: Lessons, held_out: Returns, true: Returns, parameters: Parameters, say: Callable[[str], None]
) -> Answers:
    """Two networks of the model's size, one for each answer, trained, calibrated and joined with the order as the model is."""
    nets = {task: learn(lessons, {task: TASKS[task]}, parameters, say) for task in TASKS}
    judgement = judge(nets["category"], nets["condition"], held_out, parameters)
    seen = chances(logits(nets["category"], true.images)["category"], judgement.category_temperature)
    damage = chances(logits(nets["condition"], true.images)["condition"], judgement.condition_temperature)
    joint = seen * priors(len(CATEGORIES), WRONG_SHARE)[true.ordered]
    category = joint / joint.sum(axis=1, keepdims=True)
    right = category[np.arange(len(category)), true.ordered][:, None]
    return Answers(category, np.concatenate([damage * right, 1 - right], axis=1), np.ones(len(category), dtype=bool))
