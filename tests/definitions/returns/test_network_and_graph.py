"""The network learns by its true gradients, and the ONNX graph says what it says."""

from __future__ import annotations

import numpy as np
import pytest
from pipelines.returns import network, optimiser
from pipelines.returns.damage import WRONG_SHARE
from pipelines.returns.figures import MODEL, NETWORKS
from pipelines.returns.graph import Judgement, graph, priors
from pipelines.returns.learning import TASKS, chances, seen
from pipelines.returns.parameters import Parameters
from pipelines.returns.pipeline import PARAMETERS
from pipelines.returns.samples import UNKNOWN, WRONG, Returns
from pipelines.returns.scoring import Answers, answers, figures

SIZE = network.Size(4, 5, 6, 7)
JUDGEMENT = Judgement(1.5, 0.8, 0.5, 0.3)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(1, 256, (12, 28, 28)).astype(np.uint8)


@pytest.fixture(scope="module")
def weights() -> network.Weights:
    made = network.fresh(SIZE, TASKS, 1)
    return {name: w + np.float32(0.05) if name.endswith("_bias") else w for name, w in made.items()}


@pytest.fixture(scope="module")
def onnx(weights: network.Weights) -> bytes:
    return graph(weights, JUDGEMENT, WRONG_SHARE).SerializeToString()


def returns(images: np.ndarray, ordered: int) -> Returns:
    n = len(images)
    return Returns(images, np.full(n, ordered), np.zeros(n, int), np.zeros(n, int))


@pytest.mark.parametrize("emphasis", [{}, {"condition": 2.0}])
def test_gradients_are_those_of_the_loss(images: np.ndarray, weights: network.Weights, emphasis: dict[str, float]):
    random = np.random.default_rng(2)
    labels = {task: np.eye(n)[random.integers(0, n, len(images))] for task, n in TASKS.items()}
    labels["category"][::2, 9], labels["category"][::2, 0] = np.nan, 1 - labels["category"][::2, 1:9].sum(axis=1)
    exact = {name: w.astype(np.float64) for name, w in weights.items()}

    def loss(at: network.Weights) -> tuple[float, network.Weights]:
        return network._gradients(at, images, labels, 0.0, random, emphasis)

    _, gradients = loss(exact)
    for name, w in exact.items():
        direction = random.standard_normal(w.shape)
        step = 1e-4 / np.linalg.norm(direction)
        up, down = (loss({**exact, name: w + s * step * direction})[0] for s in (1, -1))
        slope = (up - down) / (2 * step)
        assert float((gradients[name] * direction).sum()) == pytest.approx(slope, rel=0.03, abs=0.02), name


def test_tasks_share_two_convolutions_and_what_follows_is_a_tasks_own(images: np.ndarray, weights: network.Weights):
    random = np.random.default_rng(2)
    labels = {task: np.eye(n, dtype=np.float32)[random.integers(0, n, len(images))] for task, n in TASKS.items()}
    _, gradients = network._gradients(weights, images, labels, 0.0, random, {"condition": 0.0})
    still = {name for name, gradient in gradients.items() if not gradient.any()}
    assert still == {name for name in weights if "_condition" in name}


def test_networks_for_one_answer_have_the_models_numbers_each_or_both_together():
    of = Parameters.of(PARAMETERS)
    sizes = {name: network.parameters(network.fresh(size or of.size, heads, 1)) for name, (heads, size) in NETWORKS.items()}
    assert sizes["half_category"] + sizes["half_condition"] == pytest.approx(sizes[MODEL], rel=0.01)
    for name in ("category", "condition", "condition_by_order"):
        assert sizes[name] == pytest.approx(sizes[MODEL], rel=0.01)


def test_a_class_that_is_out_of_the_question_has_no_chance_and_no_gradient():
    values, nan = np.array([[1.0, 5.0, 2.0]]), float("nan")
    with_it, without = network._cross_entropy(values, np.array([[1.0, nan, 0.0]])), np.array([[1.0, 2.0]])
    loss, gradient = network._cross_entropy(without, np.array([[1.0, 0.0]]))
    assert with_it[0] == pytest.approx(loss)
    assert with_it[1] == pytest.approx(np.array([[gradient[0, 0], 0, gradient[0, 1]]]))


def test_hidden_layers_move_alike_in_all_directions_whatever_the_size_of_their_gradient():
    random = np.random.default_rng(3)
    for shape in ((40, 8), (8, 8), (9, 16)):
        for scale in (1e-6, 1e3):
            strengths = np.linalg.svd(optimiser.orthogonal(scale * random.standard_normal(shape)), compute_uv=False)
            assert (strengths[: min(shape)] > 0.6).all()
            assert (strengths < 1.3).all()
    assert not optimiser.orthogonal(np.zeros((4, 3))).any()


def test_the_same_seed_gives_the_same_weights_and_a_smaller_loss(images: np.ndarray):
    labels = {"category": np.eye(10, dtype=np.float32)[np.arange(12) // 2]}
    heads, schedule = {"category": 10}, network.Schedule(epochs=12, batch=4, rate=5e-3, dropout=0.0)
    said: list[str] = []
    first, second = (
        network.fit(network.fresh(SIZE, heads, 1), lambda e: images, lambda e: labels, schedule, said.append) for _ in range(2)
    )
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert float(said[11].split()[-1]) < float(said[0].split()[-1])


def test_where_the_order_is_not_known_the_graph_says_what_the_network_says_of_the_image_and_its_mirror_image(
    images, weights, onnx
):
    made, values = answers(onnx, returns(images, UNKNOWN)), seen(weights, images)
    assert made.category == pytest.approx(chances(values["category"], 1.5), abs=1e-5)
    assert made.condition[:, :WRONG] == pytest.approx(chances(values["condition"], 0.8), abs=1e-5)
    assert made.condition[:, WRONG] == pytest.approx(0, abs=1e-6)
    assert answers(onnx, returns(images[:, :, ::-1], UNKNOWN)).category == pytest.approx(made.category, abs=1e-6)


def test_an_order_that_is_no_category_is_not_known(images, onnx):
    assert np.array_equal(answers(onnx, returns(images, 10)).category, answers(onnx, returns(images, UNKNOWN)).category)
    assert np.array_equal(answers(onnx, returns(images, -7)).category, answers(onnx, returns(images, UNKNOWN)).category)


def test_what_was_ordered_is_evidence_by_bayes_rule(images, weights, onnx):
    made, alone = answers(onnx, returns(images, 3)), chances(seen(weights, images)["category"], 1.5)
    joint = alone * priors(10, WRONG_SHARE)[3]
    expected = joint / joint.sum(axis=1, keepdims=True)
    assert made.category == pytest.approx(expected, abs=1e-5)
    assert made.condition[:, WRONG] == pytest.approx(1 - expected[:, 3], abs=1e-5)
    assert made.condition.sum(axis=1) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(("ordered", "least"), [(3, 0.5), (UNKNOWN, 0.3)])
def test_people_look_below_the_threshold_of_returns_with_or_without_an_order(images, weights, ordered: int, least: float):
    made = answers(graph(weights, JUDGEMENT, WRONG_SHARE).SerializeToString(), returns(images, ordered))
    assert np.array_equal(made.review, made.confidence < least)


def test_figures_are_shares_of_both_answers():
    category, condition = np.eye(10)[[0, 1, 2, 3]] * 0.9 + 0.01, np.eye(5)[[0, 0, 0, 4]] * 0.9 + 0.02
    true = Returns(np.zeros((4, 28, 28), np.uint8), np.array([0, 1, 2, 1]), np.array([0, 1, 5, 3]), np.zeros(4, int))
    made = figures(Answers(category, condition, np.array([False, False, True, False])), true)
    assert (made["category_right"], made["condition_right"], made["both_right"]) == (0.75, 0.75, 0.75)
    assert (made["not_reviewed"], made["right_of_not_reviewed"]) == (0.75, 1.0)
