"""How a rollout on a cluster is said to stand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tidegate.domain.actor import Actor
from tidegate.domain.errors import InvalidInput
from tidegate.domain.slots import Slot
from tidegate.ports.cluster_rollouts import UnderWay
from tidegate.rollout.cluster.standing import frozen_seconds, gate_values, is_wanted, order, settled
from tidegate.rollout.plan import Bake, Check, RolloutConfig

A, B = "a" * 64, "b" * 64
JUDGED = UnderWay("demand", B, Slot.GREEN, A, Slot.BLUE, A, judged_since=1.0)
BAKING = replace(JUDGED, live=B)
DONE = replace(JUDGED, live=B, previous=B, judged_since=None)


@pytest.mark.parametrize(
    ("state", "phase", "undecided", "switched", "expected"),
    [
        (JUDGED, "Progressing", False, False, None),
        (BAKING, "Progressing", False, True, None),
        (DONE, "Healthy", False, True, "DONE"),
        (DONE, "", False, True, None),  # Argo Rollouts has not looked at what was applied
        (DONE, "Progressing", False, True, None),
        (replace(JUDGED, stopped="parity"), "Degraded", False, False, "ABORTED"),
        (replace(JUDGED, stopped="bake"), "Degraded", False, True, "ROLLED_BACK"),
        (replace(BAKING, stopped="bake"), "Degraded", False, True, None),  # clients still reach it: not over yet
        (JUDGED, "Paused", True, False, "FROZEN"),
    ],
)
def test_a_rollout_has_ended_when_clients_are_where_they_stay(
    state: UnderWay, phase: str, undecided: bool, switched: bool, expected: str | None
) -> None:
    assert settled(state, phase, undecided, switched) == expected


def test_an_order_has_a_reason() -> None:
    made = order("abort", Actor("ada"), "known", release=B)
    assert made.keys() == {"id", "order", "actor", "reason", "at", "release"}
    assert made["id"] != order("abort", Actor("ada"), "known", release=B)["id"]
    with pytest.raises(InvalidInput, match="needs a reason"):
        order("freeze", Actor("ada"), " ")


def test_a_release_that_a_person_ordered_is_not_ordered_again() -> None:
    ordered = replace(JUDGED, orders=({"release": JUDGED.candidate},))
    assert is_wanted(ordered, JUDGED.candidate)
    assert not is_wanted(JUDGED, JUDGED.candidate)  # applied without an order of ours
    assert not is_wanted(ordered, "c" * 64)
    assert not is_wanted(replace(ordered, stopped="parity"), JUDGED.candidate)  # tried again


def test_the_chart_asks_for_the_gates_of_the_releases_plan_for_as_long_as_each_may_take() -> None:
    config = RolloutConfig((Check("parity", deadline_seconds=20), Check("cost", deadline_seconds=400)), Bake(("bake",)))
    assert gate_values(config) == {"prePromotion": ["parity", "cost"], "postPromotion": ["bake"], "deadlineSeconds": 430}


def test_the_time_of_freezes_counts_from_the_stages_beginning_and_each_once() -> None:
    def given(*orders: tuple[str, float]) -> list[dict[str, Any]]:
        return [{"order": kind, "at": at} for kind, at in orders]

    assert frozen_seconds([], 100.0, 200.0) == 0
    assert frozen_seconds(given(("freeze", 110), ("unfreeze", 130), ("freeze", 190)), 100.0, 200.0) == 30
    assert frozen_seconds(given(("freeze", 50), ("freeze", 120), ("unfreeze", 130)), 100.0, 200.0) == 30
    assert frozen_seconds(given(("freeze", 10), ("unfreeze", 20), ("unfreeze", 150)), 100.0, 200.0) == 0
    assert frozen_seconds(given(("freeze", 300)), 100.0, 200.0) == 0, "a clock that is ahead"
