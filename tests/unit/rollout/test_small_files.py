"""Every small file of the local target, damaged in every way: the supervisor goes on, and each reader names the file."""

from __future__ import annotations

import errno
import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fakes.local_parts import FakeProbe, FakeProcesses
from fakes.rollouts import CONFIG, FakeTarget, manifest
from tidegate.adapters.envoy.routes import EnvoyRouter
from tidegate.domain.actor import Actor
from tidegate.domain.errors import IntegrityError, TidegateError
from tidegate.domain.local import LocalConfig
from tidegate.domain.slots import Desired, Slot
from tidegate.files.layout import StateFolder
from tidegate.ledger.memory import MemoryLedger
from tidegate.rollout.local.replicas import Replica
from tidegate.rollout.local.supervisor import Supervisor
from tidegate.rollout.local.supervisor_lock import Runs, SupervisorLock, running
from tidegate.rollout.orders import Orders
from tidegate.rollout.state import RolloutStore, Status
from tidegate.rollout.wanted import look_up, read_desired, read_observed, restore_desired, write_desired

RELEASES = {version: manifest(version) for version in ("1", "2")}
FILES = {
    "what is wanted": "target/desired-demand.json",
    "routes": "target/envoy/routes.json",
    "Envoy's routes": "target/envoy/xds/rds.json",
    "observed": "target/observed.json",
    "lock": "target/supervisor.lock",
    "rollout": "rollouts/demand/{id}.json",
    "old rollout": "rollouts/demand/{old}.json",
    "hold": "rollouts/demand/hold",
}


def folder_instead(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "gone": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "cut short": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2] or b"{"),
    "binary": lambda path: path.write_bytes(b"\x00\xff\xfe" * 20),
    "another type": lambda path: path.write_bytes(b"[1, 2]"),
    "a number": lambda path: path.write_bytes(b"7"),
    "nothing": lambda path: path.write_bytes(b"null"),
    "keys missing": lambda path: path.write_bytes(b"{}"),
    "wrong values": lambda path: path.write_bytes(b'{"model": 3, "active": "red", "models": 1, "plan": [], "gateway": 2}'),
    "deep": lambda path: path.write_bytes(b"[" * 200_000),
    "a folder": folder_instead,
    "a pipe": lambda path: (path.unlink(), os.mkfifo(path)),
    "unreadable": lambda path: None,  # see `world`
}


class World:
    """Two models that are live, their supervisor, the records of two rollouts and a hold of the first."""

    def __init__(self, root: Path) -> None:
        self.state = StateFolder(root)
        self.store = RolloutStore(self.state.rollouts)
        self.processes = FakeProcesses()
        self.now = 0.0
        self.restored: list[str] = []
        self.old, self.id = self.history()
        write_desired(self.state, Desired("other", blue="f" * 64, active=Slot.BLUE), 0)
        self.supervisor = self.start()
        self.steps()
        self.lock = SupervisorLock.take(self.state.supervisor_lock, Runs(os.getpid(), "tidegate.yaml", 8800, 8810, 2, "0"))

    def history(self) -> tuple[str, str]:
        """Release 1 became live in blue, then 2 in green."""
        target = FakeTarget()
        ids = []
        for each, slot in ((RELEASES["1"], Slot.BLUE), (RELEASES["2"], Slot.GREEN)):
            orders = Orders(self.store, target, MemoryLedger(), Actor("ada"))
            rollout = orders.start(each, CONFIG)
            assert rollout is not None
            done = self.store.save(rollout.__class__(**{**rollout.__dict__, "status": Status.DONE}))
            want = Desired("demand", active=slot, generation=target.desired("demand").generation, **{str(slot): each.digest})
            target.wants["demand"] = want
            ids.append(done.id)
        write_desired(self.state, target.wants["demand"], 0)
        self.store.set_hold("demand", {"kind": "freeze", "actor": "ada", "reason": "stocktaking", "at": 1.0})
        return ids[0], ids[1]

    def start(self) -> Supervisor:
        def restore(model: str) -> None:
            if restore_desired(self.state, model) is not None:
                self.restored.append(model)

        def command(replica: Replica) -> list[str]:
            return [replica.name]

        config = LocalConfig(replicas=1, drain_seconds=0, stop_seconds=0)
        router = EnvoyRouter(self.state.envoy, self.state.logs, config)
        parts = (self.state, config, self.processes, router, FakeProbe(), command)
        return Supervisor(*parts, restore=restore, clock=lambda: self.now, sleep=lambda _: None)

    def steps(self, number: int = 4) -> None:
        for _ in range(number):
            self.now += 1.0
            self.supervisor.step()

    def path(self, name: str) -> Path:
        return self.state.root / FILES[name].format(id=self.id, old=self.old)

    def serving(self) -> dict[str, tuple[Slot | None, int]]:
        """By model, which slot the gateway is told to ask, and how many replicas it has."""
        return {r.model: (r.active, len(r.endpoints[r.active])) for r in self.supervisor.router.applied() if r.active}


@pytest.fixture
def world(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # many worlds, and no machine crashes here
    made = World(tmp_path / "state")
    params = getattr(getattr(request.node, "callspec", None), "params", {})
    if params.get("damage") == "unreadable":
        forbidden, opened = str(made.path(params["name"])), os.open

        def refuse(path: Any, *arguments: Any, **more: Any) -> int:
            if str(path) == forbidden:
                raise PermissionError(13, "Permission denied", forbidden)
            return opened(path, *arguments, **more)

        monkeypatch.setattr(os, "open", refuse)
    return made


SERVING = {"demand": (Slot.GREEN, 1), "other": (Slot.BLUE, 1)}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", FILES)
def test_the_supervisor_keeps_serving_and_stops_whatever_small_file_is_damaged(world: World, name: str, damage: str) -> None:
    assert world.serving() == SERVING
    DAMAGES[damage](world.path(name))
    world.steps()
    assert world.serving() == SERVING
    assert not world.processes.dead, "what runs goes on running"
    world.supervisor = world.start()  # killed, and started anew beside the damaged file
    world.steps()
    assert world.serving() == SERVING
    assert not world.processes.dead
    world.supervisor.stop()
    assert not world.processes.known, "down ends everything"


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", FILES)
def test_every_reader_names_the_damaged_file_in_one_sentence(world: World, name: str, damage: str) -> None:
    path = world.path(name)
    DAMAGES[damage](path)
    orders = Orders(world.store, FakeTarget(), MemoryLedger(), Actor("ada"))
    said = []
    for read in (
        lambda: look_up(world.state, "demand").problem,
        lambda: world.store.damaged("demand"),
        lambda: world.store.hold("demand"),
        lambda: world.store.all("demand"),
        lambda: world.store.latest("demand"),
        lambda: world.store.unfinished("demand"),
        lambda: read_observed(world.state),
        lambda: running(world.state.supervisor_lock),
        lambda: world.supervisor.router.routed("demand"),
        lambda: orders.start(RELEASES["1"], CONFIG),
        lambda: restore_desired(world.state, "demand"),
    ):
        try:
            said.append(str(read()))
        except TidegateError as error:
            said.append(str(error))
    assert not any("\n" in each for each in said)
    if name in ("what is wanted", "rollout", "old rollout", "hold") and damage != "gone":
        assert any(str(path) in each for each in said)


@pytest.mark.parametrize("damage", [d for d in DAMAGES if d != "unreadable"])
def test_what_is_wanted_comes_back_from_the_latest_rollout_and_is_written_down_again(world: World, damage: str) -> None:
    DAMAGES[damage](world.state.desired("demand"))
    found = look_up(world.state, "demand")
    assert (found.desired.active, found.desired.active_release) == (Slot.GREEN, RELEASES["2"].digest)
    assert str(world.state.desired("demand")) in found.problem
    assert world.id in found.problem
    world.supervisor.step()
    assert any(str(world.state.desired("demand")) in problem for problem in world.supervisor.problems.values())
    world.steps()
    assert world.restored == ["demand"]
    assert read_desired(world.state, "demand").generation == 1
    assert not look_up(world.state, "demand").problem
    assert not world.supervisor.problems.keys() & {"desired demand", "restoring demand"}


def test_a_rollout_after_the_file_vanished_goes_through_the_gates_and_not_as_a_first_release(world: World) -> None:
    world.store.set_hold("demand", None)
    world.state.desired("demand").unlink()

    class Target(FakeTarget):
        def desired(self, model: str) -> Desired:
            return read_desired(world.state, model)

    made = Orders(world.store, Target(), MemoryLedger(), Actor("ada")).plan(RELEASES["1"], CONFIG)
    assert made.previous == RELEASES["2"].digest
    assert [stage.kind for stage in made.stages].count("check") == 3


def test_without_file_and_rollouts_what_runs_goes_on_running_and_the_problem_is_named(world: World) -> None:
    world.state.desired("other").unlink()
    world.steps()
    assert world.serving() == SERVING
    problem = world.supervisor.problems["desired other"]
    assert str(world.state.desired("other")) in problem
    assert "goes on running" in problem
    world.supervisor = world.start()
    world.steps()
    assert world.serving() == SERVING


def test_an_unreadable_hold_still_holds_and_can_be_lifted(world: World) -> None:
    world.path("hold").write_bytes(b"")
    held = world.store.hold("demand")
    assert held is not None
    assert str(world.path("hold")) in held["reason"]
    Orders(world.store, FakeTarget(), MemoryLedger(), Actor("ada")).unfreeze("demand", "over")
    assert world.store.hold("demand") is None


def test_a_damaged_record_lets_no_rollout_start_beside_it(world: World) -> None:
    world.store.set_hold("demand", None)
    world.path("old rollout").write_bytes(b"{")
    with pytest.raises(IntegrityError, match=world.old):
        Orders(world.store, FakeTarget(), MemoryLedger(), Actor("ada")).start(RELEASES["1"], CONFIG)


def test_who_holds_the_lock_is_known_without_its_note(world: World) -> None:
    for damage in ("empty", "binary", "keys missing"):
        DAMAGES[damage](world.state.supervisor_lock)
        found = running(world.state.supervisor_lock)
        assert found is not None
        assert found.pid == os.getpid()


def test_a_supervisor_that_ends_while_it_is_looked_for_does_not_run(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.state.supervisor_lock.write_bytes(b"")

    def ends(handle: object) -> None:
        assert world.lock is not None
        world.lock.release()

    monkeypatch.setattr("tidegate.rollout.local.supervisor_lock._holder", ends)
    assert running(world.state.supervisor_lock) is None


def test_a_lock_that_is_taken_away_is_made_again_unless_another_took_it(world: World) -> None:
    assert world.lock is not None
    world.state.supervisor_lock.unlink()
    assert running(world.state.supervisor_lock) is None
    assert world.lock.keep()
    assert running(world.state.supervisor_lock) is not None
    world.state.supervisor_lock.unlink()
    other = SupervisorLock.take(world.state.supervisor_lock, Runs(1))
    assert other is not None
    assert not world.lock.keep()


def test_an_old_lock_file_with_the_pid_alone_is_understood(world: World) -> None:
    world.state.supervisor_lock.write_text(str(os.getpid()))
    assert running(world.state.supervisor_lock) == Runs(os.getpid())


def test_a_supervisor_with_another_model_at_the_root_is_told_apart_and_one_whose_note_is_older_is_not() -> None:
    mine = Runs(1, "tidegate.yaml", 8800, 8810, 2, "0", "none")
    assert mine.differences(replace(mine, default_model="demand")) == ["defaultModel none (here: demand)"]
    assert replace(mine, default_model=None).differences(mine) == []


def test_a_defect_in_one_part_is_logged_once_and_the_others_are_looked_after(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.supervisor.controllers = lambda model: 1 / 0  # type: ignore[assignment, return-value]
    world.steps()
    assert "defect" in world.supervisor.problems["rollout demand"]
    assert sum("Traceback" in (record.exc_text or "") for record in caplog.records) == 2, "once a model"
    observed = read_observed(world.state)
    assert observed is not None
    assert "rollout demand" in observed["problems"]
    assert json.loads(world.state.observed.read_bytes())["models"].keys() == SERVING.keys()


@pytest.mark.parametrize("reason", [errno.EROFS, errno.ENOSPC, errno.EACCES, errno.EMFILE])
def test_a_disk_that_takes_nothing_stops_neither_the_supervisor_nor_what_runs(
    world: World, monkeypatch: pytest.MonkeyPatch, reason: int
) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise OSError(reason, os.strerror(reason))

    monkeypatch.setattr(tempfile, "mkstemp", refuse)
    monkeypatch.setattr(Path, "unlink", refuse)
    died = next(record for record in world.processes.records() if record.labels.get("model") == "demand")
    del world.processes.known[died.name]
    world.steps()
    assert world.serving() == SERVING
    assert died.name in world.processes.known, "a replica that died is started again"
    assert os.strerror(reason) in " ".join(world.supervisor.problems.values())
    world.supervisor.stop()
    assert not world.processes.known
