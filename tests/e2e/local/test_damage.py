"""Small files that vanish or are damaged under load: nothing is lost, the problem is named, everything can be stopped."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest

from e2e.local.test_supervisor import R1, R2, under_load
from tidegate.apps import supervision
from tidegate.domain.errors import Conflict
from tidegate.domain.slots import Slot
from tidegate.rollout.wanted import read_observed

pytestmark = pytest.mark.e2e


def problems(platform) -> str:
    observed = read_observed(platform.target.state)
    return " ".join((observed or {"problems": {}})["problems"].values())


def test_files_that_vanish_or_are_damaged_cost_no_answer(platform) -> None:
    platform.up()
    platform.stage(Slot.BLUE, R1)
    platform.activate(Slot.BLUE)
    state = platform.target.state

    def damage() -> None:
        content = state.desired("demand").read_bytes()
        state.desired("demand").unlink()
        platform.eventually(lambda: str(state.desired("demand")) in problems(platform))
        os.kill(supervision.supervisor_pid(state), signal.SIGKILL)
        platform.up()
        assert "goes on running" in problems(platform)
        state.desired("demand").write_bytes(content)
        (state.envoy / "routes.json").write_bytes(b"")
        platform.eventually(lambda: json.loads((state.envoy / "routes.json").read_bytes() or b"0"))
        os.kill(supervision.supervisor_pid(state), signal.SIGKILL)
        (state.envoy / "routes.json").write_bytes(b"{")
        state.supervisor_lock.write_bytes(b"\xff")
        platform.up()
        platform.eventually(lambda: not problems(platform))

    load = under_load(platform.url, damage)
    assert (load.lost, load.mixed({"blue": R1})) == ([], [])
    (state.envoy / "routes.json").write_bytes(b"[7]")
    state.supervisor_lock.write_bytes(b"")
    assert supervision.stop_supervisor(platform.project)
    assert platform.processes() == []


@pytest.mark.parametrize("jump", [86400.0, -86400.0])
def test_a_command_with_a_wrong_clock_sees_what_runs_and_whose_it_is(
    platform, monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    pid, true = platform.up(), time.time
    monkeypatch.setattr(time, "time", lambda: true() + jump)
    assert platform.up() == pid
    platform.stage(Slot.BLUE, R1)
    others = [path for path in platform.project.state.rglob("*") if path.lstat().st_mode & 0o077 and not path.is_symlink()]
    assert others == [], "nobody else may read or lock anything"


def test_another_project_file_or_port_is_said_and_harms_nothing(platform, tmp_path: Path) -> None:
    pid = platform.up()
    platform.stage(Slot.BLUE, R2)
    edited = replace(platform.project.local, gateway_port=platform.project.local.gateway_port + 17)
    other_port = replace(platform.project, targets=replace(platform.project.targets, local=edited))
    (tmp_path / "copy").mkdir()
    copied = Path(shutil.copy(platform.project.file, tmp_path / "copy" / "tidegate.yaml"))
    for project, says in (
        (other_port, f"gatewayPort {platform.project.local.gateway_port}"),
        (replace(platform.project, file=copied), str(platform.project.file)),
    ):
        with pytest.raises(Conflict, match=says):
            supervision.ensure_supervisor(project)
    with pytest.raises(Conflict, match=f"tidegate -C {platform.project.file} down"):
        supervision.stop_supervisor(replace(platform.project, file=copied))
    assert supervision.supervisor_pid(platform.target.state) == pid
    platform.ready(Slot.BLUE, R2)
    assert supervision.stop_supervisor(other_port), "an edited port keeps nobody from stopping"
    assert platform.processes() == []


def test_the_access_log_is_rotated_while_requests_come_and_every_one_is_in_one_of_its_files(platform) -> None:
    from tidegate.apps.retention import plan_pruning, prune

    platform.up()
    platform.stage(Slot.BLUE, R1)
    platform.activate(Slot.BLUE)
    log = platform.target.router.access_log
    padding = json.dumps({"pad": "x" * 1000}) + "\n"
    small = replace(platform.project, retention=replace(platform.project.retention, log_megabytes=1))

    def rotate() -> None:
        with log.open("a") as handle:
            handle.write(padding * 1100)
        pruning = plan_pruning(small)
        assert pruning.rotating == (log,)
        prune(small, pruning)
        platform.eventually(log.exists)

    load = under_load(platform.url, rotate)
    assert load.lost == []

    def logged() -> int:
        lines = [line for path in log.parent.glob(f"{log.name}*") for line in path.read_text().splitlines()]
        return sum(json.loads(line).get("path") == "/predict" for line in lines)

    platform.eventually(lambda: logged() == len(load.answers))
    assert 0 < log.stat().st_size < 1024 * 1024


def test_a_state_folder_that_was_moved_serves_from_its_new_place(platform, tmp_path: Path) -> None:
    platform.up()
    platform.stage(Slot.BLUE, R1)
    platform.activate(Slot.BLUE)
    assert supervision.stop_supervisor(platform.project)
    (tmp_path / "elsewhere").mkdir()
    moved = platform.project.state.rename(tmp_path / "elsewhere" / "state")
    there = type(platform)(replace(platform.project, state=moved))
    try:
        there.up()
        there.ready(Slot.BLUE, R1)
        load = under_load(there.url, lambda: None)
        assert (load.lost, load.mixed({"blue": R1})) == ([], [])
        assert str(platform.project.state) not in "".join(path.read_text() for path in moved.rglob("target/**/*.json"))
        assert not platform.project.state.exists()
    finally:
        assert supervision.stop_supervisor(there.project)
