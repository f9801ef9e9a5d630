"""What hangs is replaced as what is dead is, and a way back needs no supervisor. A process is hung by SIGSTOP."""

from __future__ import annotations

import http.client
import os
import signal
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from e2e.local.conftest import FAKES
from e2e.local.test_rollouts import CONFIG, release
from e2e.local.test_supervisor import R1, under_load
from story import eventually
from tidegate.adapters.machine.heartbeats import Heartbeats
from tidegate.adapters.machine.local_processes import read_records
from tidegate.apps import rollouts, supervision, wiring
from tidegate.apps.standby import follow_as_standby, free_locks
from tidegate.domain.actor import Actor
from tidegate.domain.slots import Slot
from tidegate.rollout.state import Status

pytestmark = pytest.mark.e2e
PARTS = supervision.Parts("slot_server:command", "fixed_gates:build_gates", "fixed_gates:finish")


def serving(platform) -> int:
    pid = supervision.ensure_supervisor(platform.project, PARTS)
    platform.stage(Slot.BLUE, R1)
    platform.activate(Slot.BLUE)
    return pid


def stop_for_good(pid: int) -> None:
    os.kill(pid, signal.SIGSTOP)


def replaced(platform, kind: str, pid: int) -> bool:
    pids = {r.pid for r in read_records(platform.target.state.pids) if r.labels.get("kind") == kind}
    return pid not in pids and not psutil.pid_exists(pid) and bool(pids)


def test_a_replica_a_gateway_a_supervisor_and_its_watcher_that_hang_are_replaced(platform) -> None:
    first = serving(platform)
    state = platform.target.state
    eventually(lambda: Heartbeats(state.beats).last("watcher"))
    slot, watcher = platform.pid_of("slot"), platform.pid_of("watcher")
    stop_for_good(slot)
    stop_for_good(watcher)
    load = under_load(platform.url, lambda: eventually(lambda: replaced(platform, "slot", slot)))
    assert (load.lost, load.mixed({"blue": R1})) == ([], []), "what the hung one had taken is asked of the other"
    eventually(lambda: replaced(platform, "watcher", watcher))

    envoy = platform.pid_of("envoy")
    stop_for_good(envoy)
    eventually(lambda: replaced(platform, "envoy", envoy))
    eventually(lambda: platform.target.router.ready())

    stop_for_good(first)
    load = under_load(platform.url, lambda: eventually(lambda: supervision.supervisor_pid(state) not in (None, first)))
    assert (load.lost, load.mixed({"blue": R1})) == ([], [])
    second = supervision.supervisor_pid(state)
    os.kill(second, signal.SIGKILL)
    eventually(lambda: supervision.supervisor_pid(state) not in (None, second))
    platform.ready(Slot.BLUE, R1)
    assert supervision.stop_supervisor(platform.project)
    assert [p.cmdline() for p in platform.processes()] == []


def test_down_ends_a_supervisor_that_hangs_and_all_that_it_left(platform) -> None:
    pid = serving(platform)
    os.kill(platform.pid_of("watcher"), signal.SIGKILL)
    stop_for_good(pid)
    assert supervision.stop_supervisor(platform.project)
    assert [p.cmdline() for p in platform.processes()] == []


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_way_back_is_gone_without_a_supervisor(platform, how: signal.Signals, monkeypatch: pytest.MonkeyPatch) -> None:
    """Supervisor, watcher and controller are dead, or all hang; a failing release is live and in its bake."""
    monkeypatch.syspath_prepend(str(FAKES))  # this process does the supervisor's work
    pid = supervision.ensure_supervisor(platform.project, PARTS)
    orders, store = rollouts.open_orders(platform.project, Actor("ada")), rollouts.open_store(platform.project)
    one, two = release(platform, "1"), release(platform, "2")
    first = orders.start(one, CONFIG)
    eventually(lambda: store.load("demand", first.id).status is Status.DONE)
    second = orders.start(two, replace(CONFIG, bake=replace(CONFIG.bake, min_seconds=300.0, deadline_seconds=600.0)))
    eventually(lambda: store.load("demand", second.id).stage == 5 and platform.target.routed("demand")[0] is Slot.GREEN)
    for victim in (platform.pid_of("watcher"), platform.pid_of("control"), pid):
        os.kill(victim, how)

    said: list[str] = []

    def go_back() -> None:
        if how is signal.SIGSTOP:
            eventually(lambda: Heartbeats(platform.target.state.beats).last("supervisor").age > supervision.HUNG)
        free_locks(platform.project)
        ordered = orders.rollback("demand", "orders look wrong", lambda digest: one, CONFIG)
        follow_as_standby(platform.project, "demand", ordered.id, said.append, lambda: None, PARTS)

    load = under_load(platform.url, go_back)
    assert load.lost == []
    assert {answer[0] for answer in load.answers} == {200}
    assert (load.answers[0][2], load.answers[-1][2]) == (two.digest, one.digest)
    ended = store.load("demand", second.id)
    assert ended.status is Status.ROLLED_BACK
    assert "orders look wrong" in said[-1]
    ledger = wiring.ledger(platform.project)
    assert ledger.verify().ok
    actions = [entry.action for entry in ledger.entries()]
    assert actions[-2:] == ["rollout.rollback", "rollout.rolled_back"]
    assert supervision.supervisor_pid(platform.target.state) is None, "the lock is free for the next supervisor"
    supervision.ensure_supervisor(platform.project, PARTS)
    platform.ready(Slot.BLUE, one.digest)


def test_only_reading_of_the_gateway_is_open_to_all_users(platform) -> None:
    serving(platform)
    port = platform.project.local.admin_port

    def ask(path: str, method: str = "GET") -> int:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request(method, path)
        return connection.getresponse().status

    assert (ask("/ready"), ask("/stats/prometheus")) == (200, 200)
    for path in (
        "/drain_listeners",
        "/quitquitquit",
        "/config_dump",
        "/stats/prometheus/../../quitquitquit",
        "/",
        "//quitquitquit",
    ):
        assert (ask(path), ask(path, "POST")) == (404, 404), path
    assert ask("/ready", "POST") == 404
    home = platform.target.router.home
    assert (home.stat().st_mode & 0o777, (home / "admin.sock").stat().st_mode & 0o777) == (0o700, 0o600)
    assert platform.target.router.ready()


def test_a_deep_state_folder_has_a_gateway(platform, tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["a-folder-of-a-deep-tree"] * 8) / "state"
    project = replace(platform.project, state=deep)
    try:
        supervision.ensure_supervisor(project, PARTS)
    finally:
        assert supervision.stop_supervisor(project)


def test_a_slot_that_cannot_start_ends_its_rollout_at_once_with_its_own_words(platform) -> None:
    supervision.ensure_supervisor(platform.project, PARTS)
    orders, store = rollouts.open_orders(platform.project, Actor("ada")), rollouts.open_store(platform.project)
    broken = release(platform, "1")
    (platform.target.state.release(broken.digest) / "broken").touch()
    started = orders.start(broken, CONFIG)
    eventually(lambda: any("model.onnx is damaged" in problem for problem in platform.target.problems()))
    eventually(lambda: store.load("demand", started.id).status is Status.FAILED)
    reason = store.load("demand", started.id).reason
    assert "ended with code 6 before it was ready, 3 times in a row: release: model.onnx is damaged" in reason
    eventually(lambda: not platform.target.problems())


def test_the_gateway_opens_after_a_restart_only_when_clients_are_answered(platform) -> None:
    serving(platform)
    assert supervision.stop_supervisor(platform.project)
    seen: list[int | str] = []

    def ask() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", platform.project.local.gateway_port, timeout=5)
        try:
            connection.request("POST", "/predict", b"{}")
            seen.append(connection.getresponse().status)
        except OSError:
            seen.append("refused")

    child = supervision._spawn(platform.project, PARTS, platform.target.state)

    def answered() -> bool:
        ask()
        return 200 in seen

    eventually(answered)
    assert set(seen) == {"refused", 200}
    assert child.poll() is None


def test_a_bake_goes_on_after_down_and_up(platform) -> None:
    supervision.ensure_supervisor(platform.project, PARTS)
    orders, store = rollouts.open_orders(platform.project, Actor("ada")), rollouts.open_store(platform.project)
    one, two = release(platform, "1"), release(platform, "2")
    first = orders.start(one, CONFIG)
    eventually(lambda: store.load("demand", first.id).status is Status.DONE)
    second = orders.start(two, replace(CONFIG, bake=replace(CONFIG.bake, min_seconds=4.0, deadline_seconds=60.0)))
    eventually(lambda: store.load("demand", second.id).stage == 5)
    assert supervision.stop_supervisor(platform.project)
    supervision.ensure_supervisor(platform.project, PARTS)
    load = under_load(platform.url, lambda: eventually(lambda: store.load("demand", second.id).status.terminal))
    ended = store.load("demand", second.id)
    assert (ended.status, ended.resumed >= 1) == (Status.DONE, True), ended.reason
    assert {answer[0] for answer in load.answers} == {200}


def test_a_stranger_on_a_replicas_port_is_not_sent_traffic(platform) -> None:
    """What answers `/readyz` in another release's name is not ready."""
    serving(platform)
    from tidegate.adapters.machine.readiness import ReadinessProbe

    probe = ReadinessProbe()
    port = next(r.labels["port"] for r in read_records(platform.target.state.pids) if r.labels.get("kind") == "slot")
    eventually(lambda: probe.ready("right", port, release=R1))

    def asked() -> bool:
        assert not probe.ready("wrong", port, release="2" * 64)
        return probe._seen["wrong"].missed >= probe.failures

    eventually(asked)
