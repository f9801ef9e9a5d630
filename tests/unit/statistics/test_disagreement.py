"""Two good models of any output kind are let pass at any sample size, and a bad one is not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tidegate.statistics.disagreement import KINDS, disagreement, disagreement_limit, kind_of

REFERENCE, SLACK, FLOOR = 3000, 1.5, 0.05  # slack and floor as the shadow gate has them
Answers = tuple[np.ndarray, np.ndarray, np.ndarray]  # of the candidate, of the live release, of a broken candidate


def quantity(rng: np.random.Generator, n: int) -> Answers:
    true = rng.gamma(0.5, 20.0, (n, 3))
    ours, theirs = (true * np.exp(rng.normal(0, 0.3, true.shape)) for _ in range(2))
    return ours, theirs, ours * 2.5


def label(rng: np.random.Generator, n: int) -> Answers:
    true = rng.integers(0, 10, n)
    ours, theirs = (np.where(rng.random(n) < 0.1, rng.integers(0, 10, n), true) for _ in range(2))
    return ours, theirs, (ours + (rng.random(n) < 0.4)) % 10


def text(rng: np.random.Generator, n: int) -> Answers:
    made: Answers = tuple(np.array([f"c{i}" for i in part], dtype=object) for part in label(rng, n))  # type: ignore[assignment]
    return made


def distribution(rng: np.random.Generator, n: int) -> Answers:
    def softmax(x: np.ndarray) -> np.ndarray:
        e = np.exp(x - x.max(axis=1, keepdims=True))
        return np.asarray(e / e.sum(axis=1, keepdims=True))

    true = rng.normal(0, 3, (n, 5))
    ours, theirs = (softmax(true + rng.normal(0, 0.5, true.shape)) for _ in range(2))
    return ours, theirs, np.roll(ours, 1, axis=1)


def score(rng: np.random.Generator, n: int) -> Answers:
    true = rng.exponential(1.0, n)
    ours, theirs = true * np.exp(rng.normal(0, 0.2, n)), 40 * true + rng.normal(0, 2.0, n)  # another scale, the same order
    return ours, theirs, np.where(rng.random(n) < 0.5, 0.0, ours)


def embedding(rng: np.random.Generator, n: int) -> Answers:
    true = rng.normal(0, 1, (n, 16))
    ours, theirs = (true + rng.normal(0, 0.3, true.shape) for _ in range(2))
    return ours, 3 * theirs, np.roll(ours, 1, axis=1)


KIND = {
    "quantity": quantity,
    "label": label,
    "text": text,
    "distribution": distribution,
    "score": score,
    "embedding": embedding,
}


@pytest.mark.parametrize("size", [30, 200, 1000])
@pytest.mark.parametrize("named", list(KIND))
def test_equal_models_fail_in_at_most_one_of_a_hundred_and_a_broken_one_always_where_200_rows_were_seen(
    named: str, size: int
) -> None:
    made: Callable[[np.random.Generator, int], Answers] = KIND[named]
    kind = KINDS["label" if named == "text" else named]
    false = missed = 0
    for study in range(4):
        rng = np.random.default_rng([study, size])
        ours, theirs, _ = made(rng, REFERENCE)
        expected = disagreement_limit(kind, kind.rows(ours, theirs), None, size, 0.99, study)
        limit = max(FLOOR, SLACK * expected)
        for _ in range(25):
            ours, theirs, broken = made(rng, size)
            false += kind.total(kind.rows(ours, theirs)) > limit
            missed += kind.total(kind.rows(broken, theirs)) <= limit
    assert false <= 1
    assert missed == 0 or size < 200


def test_what_a_kind_measures() -> None:
    assert disagreement(np.array([1.0, 3.0]), np.array([1.0, 2.0])) == pytest.approx(1 / 3)
    assert disagreement(np.array([0, 0, 1, 1]), np.array([0, 0, 0, 0]), "label") == 0.5
    halves = np.array([[0.5, 0.5], [1.0, 0.0]]), np.array([[0.5, 0.5], [0.0, 1.0]])
    assert disagreement(*halves, "distribution") == 0.5
    assert disagreement(np.array([0.2]), np.array([0.5]), "distribution") == pytest.approx(0.3)
    assert disagreement(np.arange(9.0), np.exp(np.arange(9.0)), "score") == pytest.approx(0.0)
    assert disagreement(np.arange(9.0), -np.arange(9.0), "score") == pytest.approx(2.0)
    assert disagreement(np.array([[1.0, 0.0]]), np.array([[0.0, 7.0]]), "embedding") == 1.0
    assert disagreement(np.zeros((2, 3)), np.zeros((2, 3)), "embedding") == 0.0
    assert disagreement(np.zeros(5), np.zeros(5), "score") == 0.0


def test_an_output_that_is_not_named_is_a_quantity_if_it_has_fractions_and_a_label_otherwise() -> None:
    kinds = [kind_of("x", np.zeros(3, dtype), {}).name for dtype in (np.float32, np.int64, bool, object)]
    assert kinds == ["quantity", "label", "label", "label"]
    assert kind_of("x", np.zeros(3, np.int64), {"x": "quantity"}).name == "quantity"
    assert kind_of("x", np.array(["a"], dtype=object), {"x": "quantity"}).name == "label"


def test_rows_are_drawn_from_one_time_only_where_the_reference_says_that_rows_share_one() -> None:
    kind, n = KINDS["label"], 4000
    restless = (np.arange(n) // 40) % 2 == 0  # in every second group of 40 rows, all labels differ
    rows = kind.rows(restless.astype(int), np.zeros(n, dtype=int))
    together = disagreement_limit(kind, rows, np.arange(n) // 40, 200, 0.99, 0)
    each_its_own = disagreement_limit(kind, rows, np.arange(n), 200, 0.99, 0)
    no_times = disagreement_limit(kind, rows, None, 200, 0.99, 0)
    assert (together, no_times < 0.62, each_its_own < 0.75) == (1.0, True, True)
