"""What the model has to beat: believing the order, and a model for each answer alone."""

from __future__ import annotations

import numpy as np

from . import calibration
from .damage import CATEGORIES, DAMAGE_SHARES, WRONG_SHARE
from .graph import priors
from .learning import chances, seen
from .network import Weights
from .samples import WRONG, Returns, by_order
from .scoring import Answers

ORDER, SINGLE_TASK, OWN_LABELS = "order", "single_task", "single_task_own_labels"
BY_ORDER = {"condition_by_order": WRONG + len(CATEGORIES)}


def believing_the_order(returns: Returns) -> Answers:
    """The shares that returns of each order have, whatever the image shows."""
    condition = np.append((1 - WRONG_SHARE) * np.array(DAMAGE_SHARES), WRONG_SHARE)
    return _answers(priors(len(CATEGORIES), WRONG_SHARE)[returns.ordered], np.tile(condition, (len(returns.ordered), 1)))


def joined(category: Weights, condition: Weights, held_out: Returns, true: Returns) -> Answers:
    """Two networks, one for each answer, calibrated and joined with the order as the model is: of a wrong item the condition's
    network knows nothing, and takes the category's word."""
    made = _categories(category, held_out, true)
    first, second = (seen(condition, of.images)["condition"] for of in (held_out, true))
    damage = chances(second, calibration.temperature(first, held_out.damage))
    known = true.ordered >= 0
    fits = np.where(known, made[np.arange(len(made)), true.ordered], 1.0)[:, None]
    return _answers(made, np.concatenate([damage * fits, 1 - fits], axis=1))


def own_labels(category: Weights, by_itself: Weights, held_out: Returns, true: Returns) -> Answers:
    """Two networks that know nothing of each other: that of the condition learned wrong items, too, without ever being told
    a category. Orders have to be known."""
    values = {}
    for name, of in (("held_out", held_out), ("true", true)):
        out_of_question = np.isnan(by_order(of.ordered, of.condition))
        logits = np.where(out_of_question, -np.inf, seen(by_itself, of.images)["condition_by_order"])
        wrong = logits[np.arange(len(logits)), WRONG + of.ordered][:, None]
        values[name] = np.concatenate([logits[:, :WRONG], wrong], axis=1)
    condition = chances(values["true"], calibration.temperature(values["held_out"], held_out.condition))
    return _answers(_categories(category, held_out, true), condition)


def _categories(network: Weights, held_out: Returns, true: Returns) -> np.ndarray:
    first, second = (seen(network, of.images)["category"] for of in (held_out, true))
    joint = (
        chances(second, calibration.temperature(first, held_out.category)) * priors(len(CATEGORIES), WRONG_SHARE)[true.ordered]
    )
    return joint / joint.sum(axis=1, keepdims=True)


def _answers(category: np.ndarray, condition: np.ndarray) -> Answers:
    return Answers(category, condition, np.ones(len(category), dtype=bool))
