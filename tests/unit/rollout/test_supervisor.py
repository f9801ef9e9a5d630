"""The supervisor over processes in memory: what it starts, when, what it replaces, and what it says of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from fakes.local_parts import FakeProbe, FakeProcesses, FakeRouter
from fakes.rollouts import Clock
from tidegate.adapters.machine.local_target import LocalTarget
from tidegate.domain.errors import Unavailable
from tidegate.domain.local import LocalConfig
from tidegate.domain.slots import Slot
from tidegate.files.layout import StateFolder
from tidegate.ports.local import ModelRoutes, ProcessRecord
from tidegate.rollout.local.backoff import Backoff
from tidegate.rollout.local.companions import Companion
from tidegate.rollout.local.supervisor import Supervisor
from tidegate.rollout.wanted import read_desired, write_desired

R1, R2 = "1" * 64, "2" * 64


class World:
    def __init__(self, folder: Path) -> None:
        self.state = StateFolder(folder)
        self.clock = Clock(100.0)
        self.processes, self.probe, self.router = FakeProcesses(), FakeProbe(), FakeRouter()
        self.controllers: list[Companion] = []
        self.silences: dict[str, float] = {}
        self.beats = 0
        self.restart()

    def restart(self) -> None:
        self.supervisor = Supervisor(
            self.state,
            LocalConfig(replicas=2),
            self.processes,
            self.router,
            self.probe,
            lambda replica: ["serve", replica.name],
            controllers=lambda model: next(iter(self.controllers), None) if model == "demand" else None,
            watchers=[Companion("watcher", ["watch"], kind="watcher")],
            silence=lambda record: self.silences.get(record.name),
            beat=self._beat,
            clock=self.clock,
            sleep=self._sleep,
        )

    def _beat(self) -> None:
        self.beats += 1

    def _sleep(self, seconds: float) -> None:
        self.clock.now += seconds

    def want(self, **changes: object) -> None:
        old = read_desired(self.state, "demand")
        write_desired(self.state, replace(old, **changes), old.generation)  # type: ignore[arg-type]

    def look(self, times: int = 1, seconds: float = 0.1) -> None:
        for _ in range(times):
            self.clock.now += seconds
            self.supervisor.step()

    def observed(self) -> dict:
        return json.loads(self.state.observed.read_bytes())

    def slot(self, slot: Slot) -> dict:
        return self.observed()["models"]["demand"][slot]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def serving(world: World) -> World:
    world.want(blue=R1, active=Slot.BLUE)
    world.look(3)
    assert world.processes.running("envoy") == ["envoy"]
    return world


# --- the gateway ---------------------------------------------------------------------------------------------------------


def test_a_gateway_killed_twenty_times_is_started_at_the_next_look_each_time(world) -> None:
    serving(world)
    for _ in range(20):
        world.processes.die("envoy")
        world.look(2)
        assert world.processes.running("envoy") == ["envoy"]


def test_a_port_still_held_for_a_moment_is_no_start(world) -> None:
    serving(world)
    world.processes.die("envoy")
    world.processes.taken = {LocalConfig().gateway_port}
    world.look(9)
    assert "is taken by another process" in world.observed()["problems"]["gateway"]
    world.processes.taken = set()
    world.look()
    assert world.processes.running("envoy") == ["envoy"]
    assert world.processes.started.count("envoy") == 2


def test_a_gateway_that_never_becomes_ready_is_started_ever_more_seldom(world) -> None:
    world.probe.unready = {"envoy"}
    world.look()
    for _ in range(600):
        if world.processes.running("envoy"):
            world.processes.die("envoy", 1)
        world.look()
    assert 5 < world.processes.started.count("envoy") < 15


def test_a_gateway_that_hangs_is_killed_and_started_again(world) -> None:
    serving(world)
    world.probe.silent["envoy"] = 5.0
    world.look()
    assert world.processes.killed == []
    world.probe.silent["envoy"] = 9.0
    world.look(2)
    assert world.processes.killed == ["envoy"]
    assert world.processes.running("envoy") == ["envoy"]


def test_a_gateway_that_has_just_been_started_may_take_its_time(world) -> None:
    world.probe.silent["envoy"] = 15.0
    world.look(2)
    assert world.processes.killed == []
    world.probe.silent["envoy"] = 21.0
    world.look(1)
    assert world.processes.killed == ["envoy"]


def test_the_gateway_opens_when_what_is_live_has_a_replica(world) -> None:
    world.probe.unready = {"slot"}
    world.want(blue=R1, active=Slot.BLUE)
    world.look(20)
    assert world.processes.running("envoy") == []
    assert world.observed()["gateway"]["waits"]
    assert "opens once what is live of demand is ready" in world.observed()["problems"]["gateway"]
    world.probe.unready = set()
    world.look(2)
    assert world.processes.running("envoy") == ["envoy"]
    assert world.observed()["problems"] == {}


def test_the_gateway_opens_for_other_models_although_one_never_comes(world) -> None:
    world.probe.unready = {"slot"}
    world.want(blue=R1, active=Slot.BLUE)
    world.look(40, seconds=1.0)
    assert world.processes.running("envoy") == ["envoy"]


def test_a_replica_is_said_to_be_ready_once_it_is_routed_to(world) -> None:
    """It may answer between the look at the routes and the one that is written down; whoever then stops the other one would
    leave the gateway with nobody."""
    serving(world)
    world.processes.die("slot")
    [other] = world.processes.running("slot")
    [port] = [record.labels["port"] for record in world.processes.records() if record.name == other]
    apply = world.router.apply

    def late(routes: Sequence[ModelRoutes]) -> None:
        without = {Slot.BLUE: (port,), Slot.GREEN: ()}
        apply([replace(each, endpoints=without) for each in routes])  # as if the new one had not answered yet

    world.router.apply = late
    world.look()
    assert {r["port"]: r["ready"] for r in world.slot(Slot.BLUE)["replicas"]}.pop(port)
    assert world.slot(Slot.BLUE)["ready"] == 1
    world.router.apply = apply
    world.look()
    assert world.slot(Slot.BLUE)["ready"] == 2


# --- controllers and the watcher -----------------------------------------------------------------------------------------


def test_a_rollout_goes_on_once_clients_can_be_answered(world) -> None:
    world.controllers = [Companion("control-demand-a", ["control"])]
    world.probe.unready = {"slot"}
    world.want(blue=R1, active=Slot.BLUE)
    world.look(20)
    assert world.processes.running("control") == []
    world.probe.unready = set()
    world.look(3)
    assert world.processes.running("control") == ["control-demand-a"]


def test_a_way_back_waits_for_no_gateway(world) -> None:
    world.controllers = [Companion("control-demand-a", ["control"], urgent=True)]
    world.probe.unready = {"slot"}
    world.want(blue=R1, active=Slot.BLUE)
    world.look()
    assert world.processes.running("control") == ["control-demand-a"]


@pytest.mark.parametrize("name", ["control-demand-a", "watcher"])
def test_a_companion_that_beats_no_more_is_replaced(world, name: str) -> None:
    world.controllers = [Companion("control-demand-a", ["control"])]
    serving(world).look(3)
    world.silences[name] = 7.0
    world.look()
    assert world.processes.killed == []
    world.silences[name] = 9.0
    world.look()
    assert world.processes.killed == [name]
    world.silences = {}
    world.look(3)
    assert world.processes.started.count(name) == 2
    assert name in world.processes.known


def test_a_companion_that_has_beaten_is_started_again_at_once_each_time(world) -> None:
    serving(world).look(3)
    for _ in range(10):
        world.silences["watcher"] = 0.1
        world.look()
        world.processes.die("watcher")
        world.look(2)
        assert world.processes.running("watcher") == ["watcher"]


def test_the_supervisor_beats_between_the_parts_of_a_look(world) -> None:
    world.look()
    assert world.beats >= 6


def test_the_watcher_is_ended_before_all_others(world) -> None:
    world.controllers = [Companion("control-demand-a", ["control"])]
    serving(world).look(3)
    world.supervisor.stop()
    order = world.processes.asked
    assert order[0] == "watcher"
    assert order[1].startswith("control")
    assert order[-1] == "envoy"
    assert world.processes.known == {}


# --- replicas ------------------------------------------------------------------------------------------------------------


def test_a_replica_that_was_ready_is_started_again_at_once_each_time(world) -> None:
    serving(world)
    for _ in range(20):
        world.processes.die("slot")
        world.look(2)
        assert len(world.processes.running("slot")) == 2
    assert world.observed()["problems"] == {}


def test_a_replica_that_hangs_is_killed_and_replaced(world) -> None:
    serving(world)
    name = world.processes.running("slot")[0]
    world.probe.silent[name] = 9.0
    world.look(2)
    assert world.processes.killed[0] == name
    assert len(world.processes.running("slot")) == 2


def test_a_replica_that_is_not_ready_any_more_is_replaced_if_another_one_is(world) -> None:
    serving(world)
    first, second = world.processes.running("slot")
    world.probe.unready = {first}
    world.probe.unready_for = {first: 21.0}
    world.look(3)
    assert world.processes.asked == [first]
    world.probe.unready_for = {second: 21.0, first: 21.0}
    world.probe.unready = {"slot"}
    world.look(3)
    assert world.processes.asked == [first], "what all lack, a restart does not bring"


def say(world: World, number: int, words: str) -> None:
    path = world.state.logs / f"demand-green-{number}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as log:
        log.write(words + "\n")


def test_a_slot_that_cannot_start_says_its_reason_at_once_and_is_given_up_soon(world) -> None:
    serving(world)
    world.probe.unready = {"slot-demand-green"}
    say(world, 0, "error: words of an older process")
    world.want(green=R2)
    world.look()
    for ends in range(1, 4):
        say(world, 0, "Traceback ...\nerror: release demand@2222: model.onnx is damaged\nstopped")
        world.processes.dead[world.processes.known["slot-demand-green-0-" + R2[:12]].pid] = 6
        world.look()
        problems = " ".join(world.observed()["problems"].values())
        assert "release demand@2222: model.onnx is damaged" in problems
        assert "older process" not in problems
        assert bool(world.slot(Slot.GREEN)["problem"]) is (ends == 3)
        world.look(10)
    assert world.slot(Slot.GREEN)["problem"] == (
        f"replica 0 of demand@{R2[:12]} in green ended with code 6 before it was ready, 3 times in a row: "
        "release demand@2222: model.onnx is damaged"
    )
    world.want(green=None)
    world.look(2)
    assert world.observed()["problems"] == {}


@pytest.mark.parametrize("code", [Unavailable.exit_code, -9, None])
def test_what_may_have_its_cause_outside_is_tried_more_often(world, code: int | None) -> None:
    world.probe.unready = {"slot"}
    world.want(green=R2)
    world.look()
    for ends in range(1, 7):
        world.processes.dead[world.processes.known["slot-demand-green-1-" + R2[:12]].pid] = code
        world.look(60)
        assert bool(world.slot(Slot.GREEN)["problem"]) is (ends == 6)
    world.probe.unready = set()
    world.look(3)
    assert world.slot(Slot.GREEN)["problem"] == ""
    assert world.observed()["problems"] == {}


def test_a_second_process_of_the_same_name_is_ended(world) -> None:
    serving(world)
    world.processes.known["stray-7"] = ProcessRecord("stray-7", 7, 0.0, {"kind": "stray"})
    world.look(2)
    assert world.processes.killed == ["stray-7"]
    assert "stray-7" not in world.processes.known


def test_what_was_ready_is_forgiven_and_what_never_was_waits_longer() -> None:
    backoff = Backoff()
    waits = []
    now = 0.0
    for _ in range(9):
        backoff.started("x", now)
        wait = next(w for w in range(100) if backoff.may_start("x", now + w))
        waits.append(wait)
        now += wait
    assert waits == sorted(waits)
    assert (waits[0], waits[-1]) == (1, 10)
    backoff.lasted("x")
    assert backoff.may_start("x", now)


def test_an_online_store_that_was_set_after_the_start_is_said_with_what_to_do(world: World) -> None:
    world.want(active=Slot.BLUE, blue=R1)
    world.supervisor.step()
    assert LocalTarget(world.state.root, LocalConfig()).problems() == []
    changed = LocalTarget(world.state.root, LocalConfig(online_store="redis://user:secret@cache:6379/0"))
    (problem,) = changed.problems()
    assert "slots read features from sqlite" in problem
    assert "targets.local.onlineStore is redis://cache:6379/0 now" in problem
    assert "'tidegate down' and 'tidegate up'" in problem
