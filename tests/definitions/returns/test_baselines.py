"""Two networks for one answer each are joined, and calibrated, as the model's heads are."""

from __future__ import annotations

import numpy as np
import pytest
from pipelines.returns import network
from pipelines.returns.baselines import BY_ORDER, joined, own_labels
from pipelines.returns.damage import CATEGORIES, WRONG_SHARE
from pipelines.returns.graph import graph
from pipelines.returns.learning import TASKS, judge
from pipelines.returns.parameters import Parameters
from pipelines.returns.pipeline import PARAMETERS
from pipelines.returns.samples import Returns, not_known, returned
from pipelines.returns.scoring import answers

SIZE = network.Size(4, 5, 6, 7)


@pytest.fixture(scope="module")
def items() -> Returns:
    images = np.random.default_rng(0).integers(1, 256, (40, 28, 28)).astype(np.uint8)
    return returned(images, np.arange(40) % len(CATEGORIES), seed=3)


def test_the_models_own_heads_joined_as_two_networks_give_the_models_answers(items: Returns):
    weights = network.fresh(SIZE, TASKS, 1)
    onnx = graph(weights, judge(weights, items, Parameters.of(PARAMETERS)), WRONG_SHARE).SerializeToString()
    for of in (items, not_known(items)):
        model, two = answers(onnx, of), joined(weights, weights, items, of)
        assert two.category == pytest.approx(model.category, abs=1e-4)
        assert two.condition == pytest.approx(model.condition, abs=1e-4)


def test_a_network_that_learned_conditions_by_itself_gives_chances_of_all_five(items: Returns):
    category, by_itself = network.fresh(SIZE, {"category": 10}, 1), network.fresh(SIZE, BY_ORDER, 2)
    made = own_labels(category, by_itself, items, items)
    assert made.condition.shape == (40, 5)
    assert made.condition.sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert (made.condition > 0).all()
