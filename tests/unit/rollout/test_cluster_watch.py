"""What happens to a cluster's rollouts is in the ledger once, whoever restarts; mirroring follows what is under way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fakes.cluster import FakeCluster
from tidegate.domain.errors import Unavailable
from tidegate.domain.slots import Slot
from tidegate.ledger.memory import MemoryLedger
from tidegate.ports.cluster_rollouts import UnderWay
from tidegate.rollout.cluster.watch import ClusterWatch

A, B = "a" * 64, "b" * 64
HOLD = {"actor": "ada", "reason": "stocktaking", "at": 1.0}


def order(id: str, kind: str, actor: str, reason: str, **about: str) -> dict[str, Any]:
    return {"id": id, "order": kind, "actor": actor, "reason": reason, "at": 1.0, **about}


class World:
    def __init__(self, folder: Path) -> None:
        self.folder, self.cluster, self.ledger = folder, FakeCluster(), MemoryLedger()
        self.finished: list[str] = []
        self.cluster.models["demand"] = UnderWay("demand", A, Slot.BLUE, A, Slot.BLUE, A)

    def look(self, **fields: object) -> list[str]:
        """Actions recorded by one look after a change, by a watch that knows only what is on disk."""
        before = len(list(self.ledger.entries()))
        if fields:
            self.cluster.change("demand", **fields)
        ClusterWatch(self.cluster, self.ledger, self.folder, lambda state: self.finished.append(state.candidate)).look("demand")
        return [entry.action for entry in self.ledger.entries()][before:]


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    assert made.look() == ["rollout.start", "rollout.done"]
    return made


def test_a_promotion_is_recorded_step_by_step_and_each_step_once(world: World) -> None:
    assert world.look(candidate=B, slot=Slot.GREEN, judged_since=5.0) == ["rollout.start"]
    assert world.cluster.mirrors["demand"]
    assert world.look() == []
    assert world.look(live=B, live_slot=Slot.GREEN, judged_since=9.0) == ["rollout.switch"]
    assert not world.cluster.mirrors["demand"]
    assert world.look(previous=B, judged_since=None) == ["rollout.done"]
    assert world.look() == []
    assert world.finished == [A, B]


def test_what_happened_unseen_is_recorded_as_the_difference_it_made(world: World) -> None:
    changes = {"candidate": B, "live": B, "previous": B, "slot": Slot.GREEN, "live_slot": Slot.GREEN}
    assert world.look(**changes) == ["rollout.start", "rollout.switch", "rollout.done"]


def test_a_release_that_is_stopped_is_recorded_and_no_longer_mirrored_to(world: World) -> None:
    world.look(candidate=B, judged_since=5.0)
    assert world.look(stopped="metric 'parity' failed", judged_since=None) == ["rollout.stop"]
    assert not world.cluster.mirrors["demand"]
    assert world.finished == [A]


def test_a_rollback_is_recorded(world: World) -> None:
    world.look(candidate=B, judged_since=5.0)
    world.look(live=B, judged_since=6.0)
    assert world.look(live=A, stopped="metric 'bake' failed", judged_since=None) == ["rollout.rollback", "rollout.stop"]


def test_every_order_is_recorded_once_with_who_and_why_though_others_came_after_it(world: World) -> None:
    freeze, unfreeze = order("1", "freeze", "ada", "stocktaking"), order("2", "unfreeze", "bob", "counted")
    back = order("3", "rollback", "eve", "orders look wrong", release=B)
    assert world.look(hold=freeze, orders=(freeze,)) == ["freeze"]
    assert world.look() == []
    again = order("4", "freeze", "ada", "stocktaking")
    orders = (freeze, unfreeze, back, again)
    assert world.look(candidate=B, hold=again, orders=orders) == ["unfreeze", "rollback", "freeze", "rollout.start"]
    assert world.look(orders=orders[2:]) == []  # the oldest make room
    recorded = [(e.action, e.subject, e.actor, e.body["message"]) for e in list(world.ledger.entries())[-4:-1]]
    assert recorded == [
        ("unfreeze", "demand", "bob", "counted"),
        ("rollback", f"demand@{B[:12]}", "eve", "orders look wrong"),
        ("freeze", "demand", "ada", "stocktaking"),
    ]


def test_a_hold_that_was_set_or_taken_away_by_hand_is_recorded_too(world: World) -> None:
    assert world.look(hold=HOLD) == ["freeze"]
    assert world.look() == []
    assert world.look(hold=None) == ["unfreeze"]
    frozen, let_go = list(world.ledger.entries())[-2:]
    assert (frozen.actor, frozen.subject, frozen.body["message"]) == ("ada", "demand", "stocktaking")
    assert (let_go.actor, let_go.subject) == ("unknown", "demand")


def test_a_look_that_fails_changes_nothing(world: World) -> None:
    world.cluster.away = True
    with pytest.raises(Unavailable):
        world.look(candidate=B)
    world.cluster.away = False
    assert world.look() == ["rollout.start"]
