"""Detached processes: found without their records, never taken from strangers, whatever disk and wall clock do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tidegate.adapters.machine import local_processes, process_identity
from tidegate.adapters.machine.heartbeats import Heartbeats
from tidegate.adapters.machine.local_processes import MARK, LocalProcesses
from tidegate.domain.errors import Unavailable

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]
LABELS = {"kind": "slot", "model": "demand", "slot": "blue", "replica": 0, "release": "1" * 64, "port": 1}


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "pids"
    for process in psutil.process_iter():
        try:
            if str(tmp_path) in process.environ().get(MARK, ""):
                process.kill()
        except psutil.Error:
            continue


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, content: bytes) -> None:
        raise Unavailable(f"writing {path}: no space left on device")

    monkeypatch.setattr(local_processes, "replace_durably", refuse)


def ended(processes: LocalProcesses) -> bool:
    for record in processes.records():
        processes.terminate(record, force=True)
    deadline = time.monotonic() + 10
    while any(processes.alive(r) for r in processes.records()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not any(processes.alive(r) for r in processes.records())


@pytest.mark.usefixtures("full")
def test_on_a_full_disk_a_process_is_known_and_found_again_without_a_record(folder: Path) -> None:
    first = LocalProcesses(folder)
    started = first.start("slot-a", SLEEP, LABELS, folder.parent / "log")
    assert [r.name for r in first.records()] == ["slot-a"]
    assert list(folder.glob("*.json")) == []
    [found] = LocalProcesses(folder).records()
    assert (found.name, found.pid, found.labels) == ("slot-a", started.pid, LABELS)
    assert ended(first)


def test_a_record_that_could_not_be_written_is_written_later(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    processes = LocalProcesses(folder)
    kept = local_processes.replace_durably
    monkeypatch.setattr(local_processes, "replace_durably", lambda path, content: (_ for _ in ()).throw(Unavailable("full")))
    processes.start("slot-a", SLEEP, LABELS, folder.parent / "log")
    monkeypatch.setattr(local_processes, "replace_durably", kept)
    monkeypatch.setattr(processes, "_try_again", 0.0)
    processes.records()
    assert [path.name for path in folder.glob("*.json")] == ["slot-a.json"]
    assert ended(processes)


def test_a_second_process_of_a_name_is_a_stray(folder: Path) -> None:
    processes = LocalProcesses(folder)
    processes.start("slot-a", SLEEP, LABELS, folder.parent / "log")
    second = processes.start("slot-a", SLEEP, LABELS, folder.parent / "log")  # a supervisor that forgot the first
    found = {r.name: r for r in LocalProcesses(folder).records()}
    assert found.pop("slot-a").pid == second.pid
    [stray] = found.values()
    assert stray.labels == {"kind": "stray"}
    assert ended(LocalProcesses(folder))


def test_a_process_of_another_user_is_not_adopted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = json.dumps({"folder": str(folder.resolve()), "name": "slot-a", "labels": LABELS})
    stranger = subprocess.Popen(SLEEP, env={**os.environ, MARK: mark}, start_new_session=True)
    monkeypatch.setattr(local_processes, "owned", lambda pid, _: pid != stranger.pid)
    assert LocalProcesses(folder).records() == []
    monkeypatch.undo()
    assert [r.pid for r in LocalProcesses(folder).records()] == [stranger.pid]
    stranger.kill()
    stranger.wait()


def test_all_user_ids_of_a_process_count(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir()
    own = os.geteuid()
    assert process_identity.owned(os.getpid(), folder)
    monkeypatch.setattr(psutil.Process, "uids", lambda self: (own, own, own + 1))
    assert not process_identity.owned(os.getpid(), folder)


def test_a_jump_of_the_wall_clock_makes_no_process_another(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    processes = LocalProcesses(folder)
    record = processes.start("slot-a", SLEEP, LABELS, folder.parent / "log")
    monkeypatch.setattr(time, "time", lambda: 4e9)
    monkeypatch.setattr(psutil.Process, "create_time", lambda self: 4e9)
    [read] = LocalProcesses(folder).records()
    assert (read.ticks, read.boot) == (record.ticks, record.boot)
    assert LocalProcesses(folder).alive(read)
    assert ended(processes)


def test_a_record_of_before_is_known_by_its_start_time(folder: Path) -> None:
    processes = LocalProcesses(folder)
    record = processes.start("slot-a", SLEEP, LABELS, folder.parent / "log")
    old = {"name": "slot-a", "pid": record.pid, "started": psutil.Process(record.pid).create_time(), "labels": LABELS}
    (folder / "slot-a.json").write_text(json.dumps(old))
    [read] = LocalProcesses(folder).records()
    assert read.ticks is None
    assert processes.alive(read)
    (folder / "slot-a.json").write_text(json.dumps({**old, "started": old["started"] - 60}))
    [read] = [r for r in LocalProcesses(folder).records() if r.ticks is None] or LocalProcesses(folder).records()
    assert ended(processes)


def test_how_a_process_ended_is_known_once_it_has(folder: Path) -> None:
    processes = LocalProcesses(folder)
    record = processes.start("slot-a", [sys.executable, "-c", "raise SystemExit(6)"], LABELS, folder.parent / "log")
    deadline = time.monotonic() + 20
    while processes.alive(record) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert processes.exit_code(record) == 6


def test_a_beat_says_whose_it_is_and_survives_a_jump_of_the_wall_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    beats = Heartbeats(tmp_path / "beats")
    assert beats.last("supervisor") is None
    assert beats.beat("supervisor")
    monkeypatch.setattr(time, "time", lambda: 4e9)
    beat = beats.last("supervisor")
    assert beat is not None
    assert (beat.pid, beat.runs, beat.age < 5.0) == (os.getpid(), True, True)
    monkeypatch.setattr("tidegate.adapters.machine.heartbeats.boot_id", lambda: "another boot")
    assert beats.last("supervisor") is None
    (tmp_path / "beats" / "supervisor").write_bytes(b"\xff\x00 damaged")
    assert beats.last("supervisor") is None


def test_who_cannot_beat_says_so(tmp_path: Path) -> None:
    (tmp_path / "beats").write_text("a file in the folder's place")
    assert not Heartbeats(tmp_path / "beats").beat("supervisor")
