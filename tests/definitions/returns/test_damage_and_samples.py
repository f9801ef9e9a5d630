"""Damage is made by seed, is seen, and stays on the item; no item that is trained on is judged."""

from __future__ import annotations

import numpy as np
import pytest
from pipelines.returns import damage, samples


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    shirt = np.zeros((28, 28), np.uint8)
    shirt[4:25, 6:22] = 160
    shirt[8:20:3, 8:20] = 200
    return np.repeat(shirt[None], 24, axis=0)


def test_the_same_seed_makes_the_same_bytes_and_another_seed_others(images: np.ndarray):
    first, second, other = damage.damaged(images, 5), damage.damaged(images, 5), damage.damaged(images, 6)
    assert np.array_equal(first[0], second[0])
    assert np.array_equal(first[1], second[1])
    assert not np.array_equal(first[0], other[0])


@pytest.mark.parametrize("kind", [damage.stained, damage.torn, damage.blurred])
def test_each_damage_changes_the_image_and_no_corner_of_it(images: np.ndarray, kind):
    made = kind(images[0], np.random.default_rng(2))
    assert (made.dtype, made.shape) == (np.uint8, (28, 28))
    assert (made != images[0]).sum() >= 8
    assert not made[:2, :2].any()


def test_an_empty_image_can_be_damaged(images: np.ndarray):
    nothing = np.zeros((28, 28), np.uint8)
    for kind in (damage.stained, damage.torn, damage.blurred):
        assert kind(nothing, np.random.default_rng(1)).shape == (28, 28)


def test_pairs_are_the_item_as_it_is_and_damaged(images: np.ndarray):
    both, which = damage.pairs(images, 3)
    assert np.array_equal(both[::2], images)
    assert not which[::2].any()
    assert (which[1::2] > 0).all()


def test_a_tenth_of_orders_are_of_another_category():
    categories = np.arange(20_000) % 10
    orders = damage.ordered(categories, 4)
    assert 0.09 < (orders != categories).mean() < 0.11
    assert set(orders) == set(range(10))


def test_an_item_belongs_to_one_part_for_ever():
    parts = samples.parts([f"item-{i:05d}" for i in range(2000)])
    shares = {part: float((parts == part).mean()) for part in (samples.TRAINING, samples.CALIBRATION, samples.TEST)}
    assert shares == pytest.approx({"training": 0.8, "calibration": 0.1, "test": 0.1}, abs=0.03)
    assert samples.part("item-00001") == parts[1]


def test_both_images_of_a_pair_are_moved_alike(images: np.ndarray):
    both = np.repeat(images, 2, axis=0)
    moved = samples.moved(both, np.random.default_rng(1))
    assert np.array_equal(moved[::2], moved[1::2])
    assert len({image.tobytes() for image in moved}) > 3


def test_a_wrong_item_is_named_before_its_damage_and_only_where_the_order_is_known(images: np.ndarray):
    returns = samples.returned(images, np.arange(24) % 10, seed=9, times=3)
    wrong = returns.ordered != returns.category
    assert (returns.condition[wrong] == samples.WRONG).all()
    assert np.array_equal(returns.condition[~wrong], returns.damage[~wrong])
    assert np.array_equal(samples.not_known(returns).condition, returns.damage)


def test_whoever_learns_the_condition_by_itself_is_told_what_was_ordered_and_no_category():
    order, condition = np.array([2, 7]), np.array([1, samples.WRONG])
    told = samples.by_order(order, condition)
    assert np.flatnonzero(told[0] == 1) == 1
    assert np.flatnonzero(told[1] == 1) == samples.WRONG + 7
    for row, ordered in zip(told, order, strict=True):
        asked = [0, 1, 2, 3, samples.WRONG + ordered]
        assert np.array_equal(np.flatnonzero(~np.isnan(row)), asked)
