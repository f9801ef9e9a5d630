"""Wall clocks that jump by a day, forward and back: durations and order stay what they are."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest

from fakes.rollouts import CONFIG, FakeTarget, manifest
from tidegate.domain import clocks
from tidegate.domain.actor import Actor
from tidegate.domain.clocks import Reading, SteadyClock, process_clock
from tidegate.domain.slots import Slot
from tidegate.files.layout import StateFolder
from tidegate.ledger.memory import MemoryLedger
from tidegate.ports.inference_records import Selection
from tidegate.rollout.orders import Orders
from tidegate.rollout.state import RolloutStore, Status
from tidegate.rollout.state_clock import state_clock
from tidegate.rollout.wanted import STALE_SECONDS, read_observed
from tidegate.serving.records import InferenceLogFiles

DAY = 86400.0
LOOK = {"gateway": {}, "models": {}, "problems": {}}
jumps = pytest.mark.parametrize("jump", [DAY, -DAY])


def set_wall_clock(monkeypatch: pytest.MonkeyPatch, ahead: float) -> None:
    true = time.time
    monkeypatch.setattr(time, "time", lambda: true() + ahead)


@jumps
def test_a_look_of_the_supervisor_is_as_old_as_it_is_whatever_the_wall_clocks_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    state, now = StateFolder(tmp_path), Reading.now()
    state.target.mkdir()
    state.observed.write_text(json.dumps({**now.to_json(), **LOOK}))
    set_wall_clock(monkeypatch, jump)
    assert read_observed(state) is not None
    old = replace(now, boot_seconds=(now.boot_seconds or 0.0) - STALE_SECONDS - 1)
    state.observed.write_text(json.dumps({**old.to_json(), **LOOK}))
    assert read_observed(state) is None


def test_readings_of_two_runs_of_the_machine_are_compared_by_the_wall_clock() -> None:
    before, after = Reading(1000.0, 50.0, "one"), Reading(1100.0, 3.0, "two")
    assert before.seconds_until(after) == 100.0
    assert Reading.from_json({"at": 1000.0}).seconds_until(after) == 100.0
    assert after.seconds_until(before) == 0.0


@jumps
def test_processes_of_a_state_folder_share_a_clock_that_no_jump_moves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    state = StateFolder(tmp_path)
    first = state_clock(state)
    before = first()
    assert abs(before - time.time()) < 60
    set_wall_clock(monkeypatch, jump)
    assert 0 <= first() - before < 60
    assert state_clock(state) == first
    monkeypatch.setenv(clocks.ENVIRONMENT, first.to_text())
    assert process_clock() == first
    assert abs(state_clock(state, renew=True).offset - first.offset - jump) < 60
    monkeypatch.setattr(clocks, "boot_id", lambda: "another run")
    monkeypatch.setattr("tidegate.domain.clocks.boot_id", lambda: "another run")
    assert state_clock(state).boot == "another run"
    assert process_clock() is time.time, "what was given is of another run of the machine"


@pytest.mark.parametrize("content", ["", "x", "a b c", " nan", "inf"])
def test_what_is_no_clock_is_not_taken_for_one(tmp_path: Path, content: str) -> None:
    assert SteadyClock.from_text(content) is None
    state = StateFolder(tmp_path)
    state.target.mkdir()
    (state.target / "clock.json").write_text(json.dumps({"clock": content}))
    assert abs(state_clock(state)() - time.time()) < 60


def test_rollouts_are_in_the_order_in_which_they_were_ordered_and_old_records_before_them(tmp_path: Path) -> None:
    store, target = RolloutStore(tmp_path), FakeTarget()
    now = 5000.0
    made = []
    for version in ("1", "2", "3"):
        orders = Orders(store, target, MemoryLedger(), Actor("ada"), lambda: now)  # noqa: B023 - it is called at once
        rollout = orders.start(manifest(version), CONFIG)
        assert rollout is not None
        made.append(store.save(replace(rollout, status=Status.DONE)).id)
        now -= DAY
    assert [each.id for each in store.all("demand")] == made
    old = replace(store.load("demand", made[0]), id="an-old-one", sequence=0, created_at=9e9)
    store.save(old)
    assert [each.id for each in store.all("demand")] == ["an-old-one", *made]


@jumps
def test_records_are_found_by_their_own_times_and_not_by_those_of_the_file_system(tmp_path: Path, jump: float) -> None:
    import os

    line = {"id": "r", "at": 1000.0, "model": "demand", "release": "a" * 64, "slot": "blue", "shadow": False}
    line |= {"status": 422, "latency_ms": 1.0, "rows": 0}
    path = tmp_path / "blue-0-1-0.jsonl"
    path.write_text("".join(json.dumps({**line, "id": f"r{n}", "at": 1000.0 + n}) + "\n" for n in range(3)))
    os.utime(path, (1000.0 + jump, 1000.0 + jump))
    found = list(InferenceLogFiles(tmp_path, "demand").read(Selection(since=1001.0)))
    assert [(record.id, record.slot) for record in found] == [("r1", Slot.BLUE), ("r2", Slot.BLUE)]
    assert not list(InferenceLogFiles(tmp_path, "demand").read(Selection(since=2000.0)))
