"""A way back is done whatever the ledger's disk says, and recorded later, in order, before any step forward."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from fakes.rollouts import FakeGate
from small_disks import fill, read_only, small_disk
from tidegate.adapters.files.ledger_file import FileLedger
from tidegate.domain.actor import Actor
from tidegate.domain.errors import IntegrityError, TidegateError, Unavailable
from tidegate.domain.slots import Slot
from tidegate.domain.verdict import Verdict
from tidegate.rollout.orders import Orders
from tidegate.rollout.state import RolloutStore, Status
from tidegate.rollout.unrecorded import FILE, Recorder, recorded_rollouts

Break = Callable[[Path], AbstractContextManager[object]]


@contextmanager
def full(disk: Path) -> Iterator[None]:
    filling = fill(disk)
    yield
    filling.unlink()


@contextmanager
def damaged(disk: Path) -> Iterator[None]:
    path = disk / "ledger" / "ledger.jsonl"
    content = path.read_bytes()
    path.write_bytes(content.replace(b'"ada"', b'"eve"', 1))
    yield
    path.write_bytes(content)


@pytest.fixture(params=[full, read_only, damaged], ids=["full", "read-only", "damaged"])
def trouble(request: pytest.FixtureRequest) -> Break:
    chosen: Break = request.param
    return chosen


@pytest.fixture
def disk(tmp_path: Path, world) -> Iterator[Path]:
    """The ledger of the world, on a disk of its own."""
    with small_disk(tmp_path / "disk", "256k") as at:
        ledger = FileLedger(at / "ledger", at / "keys", world.clock)
        world.ledger = ledger
        world.orders = Orders(world.store, world.target, ledger, Actor("ada"), world.clock)
        world.restart()
        yield at


def subjects(world) -> list[str]:
    return [entry.action for entry in world.ledger.entries()]


def test_an_abort_is_obeyed_while_the_ledger_takes_nothing_and_recorded_later(world, disk: Path, trouble: Break) -> None:
    world.start()
    world.run("bake")
    assert world.target.route["demand"][0] is Slot.GREEN
    with trouble(disk):
        world.orders.abort("demand", "orders look wrong")
        for _ in range(10):
            world.step()
        assert world.target.route["demand"] == (Slot.BLUE, False)
        assert world.rollout.status is Status.ROLLED_BACK
        waits = world.orders.recorder.remark("demand")
        assert "wait to be recorded (rollout.abort_ordered, rollout.rollback, rollout.rolled_back)" in waits
        assert not world.engine.settled("demand", world.id)
        with pytest.raises(TidegateError):
            world.start(3)  # nothing goes forward
        assert world.store.unfinished("demand") is None
    assert world.engine.settled("demand", world.id)
    assert subjects(world)[-3:] == ["rollout.abort_ordered", "rollout.rollback", "rollout.rolled_back"]
    last = list(world.ledger.entries())[-3]
    assert (last.actor, last.body["reason"]) == ("ada", "orders look wrong")
    assert last.body["waited_since"] < world.clock.now
    assert world.start(3)
    assert world.ledger.verify().ok


def test_a_freeze_holds_while_the_ledger_takes_nothing(world, disk: Path, trouble: Break) -> None:
    world.start()
    world.run("shadow")
    with trouble(disk):
        world.orders.freeze("demand", "stocktaking")
        for _ in range(5):
            world.step()
        assert world.store.hold("demand")["reason"] == "stocktaking"
        assert world.rollout.status is Status.FROZEN
        with pytest.raises(TidegateError):
            world.orders.unfreeze("demand", "over")
        assert world.store.hold("demand") is not None
    world.orders.unfreeze("demand", "over")
    assert [action for action in subjects(world) if "freeze" in action or "frozen" in action] == [
        "freeze",
        "rollout.frozen",
        "unfreeze",
    ]


def test_a_rollback_to_the_release_before_goes_all_the_way_without_the_ledger(world, disk: Path, trouble: Break) -> None:
    world.start()
    assert world.run().status is Status.DONE
    by_digest = {release.digest: release for release in world.releases}
    with trouble(disk):
        world.id = world.orders.rollback("demand", "complaints", by_digest.__getitem__, world.config).id
        assert world.run().status is Status.DONE
        assert world.target.desired("demand").active_release == world.releases[0].digest
        assert world.id not in recorded_rollouts(world.store.folder)  # its start waits, so no ledger has to know it
    assert world.engine.settled("demand", world.id)
    started = [entry.body["kind"] for entry in world.ledger.entries() if entry.action == "rollout.start"]
    assert started == ["rollout", "rollback"]


@pytest.fixture
def full_state(tmp_path: Path, world) -> Iterator[tuple[Any, Callable[[], Path]]]:
    """A world whose whole state is on one disk, and what fills that."""
    with small_disk(tmp_path / "disk", "8m") as at:
        world = type(world)(at / "rollouts")
        world.ledger = FileLedger(at / "ledger", at / "keys", world.clock)
        world.orders = Orders(world.store, world.target, world.ledger, Actor("ada"), world.clock)
        world.restart()
        yield world, lambda: fill(at)


def test_a_state_disk_that_is_full_altogether_still_takes_an_abort_in_the_room_that_was_kept(full_state) -> None:
    world, fill_up = full_state
    world.start()
    world.run("bake")
    filling = fill_up()
    world.orders.abort("demand", "orders look wrong")
    assert RolloutStore(world.store.folder).load("demand", world.id).request["reason"] == "orders look wrong"
    for _ in range(10):
        world.step()
    assert world.target.route["demand"] == (Slot.BLUE, False)
    filling.unlink()
    assert world.engine.settled("demand", world.id)
    assert "rollout.abort_ordered" in subjects(world)


def test_a_state_disk_that_is_full_altogether_still_takes_a_freeze_and_room_is_kept_again_later(full_state) -> None:
    world, fill_up = full_state
    world.start()
    world.run("shadow")
    filling = fill_up()
    world.orders.freeze("demand", "stocktaking")
    assert RolloutStore(world.store.folder).hold("demand")["reason"] == "stocktaking"
    assert not world.store.reserve.path.exists()
    filling.unlink()
    world.orders.unfreeze("demand", "over")
    assert world.run().status is Status.DONE
    assert world.store.reserve.path.stat().st_blocks * 512 >= world.store.reserve.size


def test_a_rollback_is_taken_on_a_full_disk_too(full_state) -> None:
    world, fill_up = full_state
    world.start()
    assert world.run().status is Status.DONE
    fill_up()
    by_digest = {release.digest: release for release in world.releases}
    world.id = world.orders.rollback("demand", "complaints", by_digest.__getitem__, world.config).id
    for _ in range(20):
        world.step()
    assert world.target.desired("demand").active_release == world.releases[0].digest


@pytest.mark.parametrize("verdict", [Verdict.FAIL, Verdict.ERROR])
def test_harm_that_a_gate_sees_is_taken_back_without_the_ledger(world, disk: Path, trouble: Break, verdict: Verdict) -> None:
    world.start()
    world.run("bake")
    bake: FakeGate = world.gates["bake"]
    bake.verdict = verdict
    with trouble(disk):
        for _ in range(30):
            world.step()
        assert (world.rollout.status, world.target.route["demand"][0]) == (Status.ROLLED_BACK, Slot.BLUE)
    assert world.engine.settled("demand", world.id)
    assert subjects(world)[-3:] == ["rollout.rollback", "verdict", "rollout.rolled_back"]


def test_a_way_back_goes_on_from_memory_where_no_disk_takes_anything(world, disk: Path) -> None:
    world.store = RolloutStore(disk / "rollouts")
    world.orders = Orders(world.store, world.target, world.ledger, Actor("ada"), world.clock)
    world.restart()
    world.start()
    world.run("bake")
    world.gates["bake"].verdict = Verdict.FAIL
    with full(disk):
        for _ in range(30):
            rollout = world.step()
        assert (rollout.status, world.target.route["demand"][0]) == (Status.ROLLED_BACK, Slot.BLUE)
        assert not world.engine.settled("demand", world.id)
        assert world.rollout.status is Status.RUNNING  # on disk
    assert world.engine.settled("demand", world.id)
    assert world.rollout.status is Status.ROLLED_BACK
    assert subjects(world)[-1] == "rollout.rolled_back"


def test_what_waits_survives_the_process_and_damage_to_it_stops_the_next_step_forward(tmp_path: Path, world) -> None:
    class Away:
        def append(self, *_: object) -> None:
            raise Unavailable("the disk is full")

    Recorder(Away(), tmp_path).back("demand", "freeze", "demand", {"reason": "x"}, Actor("ada"))  # type: ignore[arg-type]
    recorder = Recorder(world.ledger, tmp_path)
    assert [entry["action"] for entry in recorder.waiting("demand")] == ["freeze"]
    (tmp_path / "demand" / FILE).write_bytes(b"[{")
    with pytest.raises(IntegrityError, match="is damaged"):
        recorder.forward("demand", "override", "demand@1", {}, Actor("ada"))
    recorder.back("demand", "freeze", "demand", {"reason": "y"}, Actor("ada"))  # a way back is never in its way
    assert subjects(world) == ["freeze"]
    with pytest.raises(IntegrityError, match="cannot be read"):
        recorder.catch_up("demand")
    (tmp_path / "demand" / f"{FILE}.damaged").unlink()
    recorder.catch_up("demand")
