"""The watcher: starts a supervisor where none is, ends one that hangs, and leaves alone what it cannot judge."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tidegate.adapters.machine.heartbeats import Heartbeats
from tidegate.apps import supervision, systemd
from tidegate.apps.watcher import Watcher
from tidegate.files.layout import StateFolder

HOLDER = """
import fcntl, os, sys, time
from pathlib import Path
from tidegate.adapters.machine.heartbeats import Heartbeats
lock = open(sys.argv[1], "a")
fcntl.flock(lock, fcntl.LOCK_EX)
beats = Heartbeats(Path(sys.argv[2]))
while True:
    beats.beat("supervisor")
    time.sleep(0.05)
"""


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    made = StateFolder(tmp_path)
    made.target.mkdir()
    made.logs.mkdir()
    return made


def holder(state: StateFolder) -> subprocess.Popen[bytes]:
    child = subprocess.Popen([sys.executable, "-c", HOLDER, str(state.supervisor_lock), str(state.beats)])
    wait(lambda: Heartbeats(state.beats).last("supervisor") is not None)
    return child


def wait(condition) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_supervisor_that_hangs_is_ended_and_another_is_started(state: StateFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "HUNG", 0.5)
    hung = holder(state)
    watcher = Watcher(state, [sys.executable, "-c", "open('started', 'w')"])
    monkeypatch.chdir(state.root)
    watcher.look()
    assert hung.poll() is None, "one that beats is left alone"
    os.kill(hung.pid, signal.SIGSTOP)
    wait(lambda: Heartbeats(state.beats).last("supervisor").age > 0.5)
    watcher.look()
    assert hung.wait(10) == -signal.SIGKILL
    watcher.look()
    wait(lambda: (state.root / "started").exists())


def test_who_cannot_beat_takes_no_silence_for_a_hang(state: StateFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "HUNG", 0.2)
    silent = holder(state)
    os.kill(silent.pid, signal.SIGSTOP)
    wait(lambda: Heartbeats(state.beats).last("supervisor").age > 0.3)
    watcher = Watcher(state, ["false"])
    monkeypatch.setattr(watcher.beats, "beat", lambda name: False)  # the disk is read-only, say
    watcher.look()
    assert silent.poll() is None
    silent.kill()
    silent.wait()


def test_a_process_that_only_has_the_pid_is_not_ended(state: StateFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "HUNG", 0.1)
    silent = holder(state)
    os.kill(silent.pid, signal.SIGSTOP)
    beat = state.beats / "supervisor"
    pid, ticks, boot, at = beat.read_text().split()
    beat.write_text(f"{pid} {int(ticks) - 1} {boot} {float(at) - 60}")
    assert not supervision.end_hung(state)
    assert silent.poll() is None
    silent.kill()
    silent.wait()


def test_a_process_of_another_user_is_not_ended(state: StateFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "HUNG", 0.1)
    monkeypatch.setattr(supervision, "owned", lambda pid, folder: False)
    silent = holder(state)
    os.kill(silent.pid, signal.SIGSTOP)
    wait(lambda: Heartbeats(state.beats).last("supervisor").age > 0.2)
    assert not supervision.end_hung(state)
    assert silent.poll() is None
    silent.kill()
    silent.wait()


def test_whom_it_has_just_started_ends_with_it(state: StateFolder) -> None:
    watcher = Watcher(state, [sys.executable, "-c", "import time; time.sleep(60)"])
    watcher.look()
    child = watcher._child
    assert child is not None
    watcher.end()
    assert child.poll() is not None


def test_systemd_is_told_in_its_own_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        systemd.notify("READY=1")
        assert listener.recv(64) == b"READY=1"
    assert not systemd.is_watching()
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    assert systemd.is_watching()
    systemd.notify("WATCHDOG=1")  # nobody listens any more: no harm
    monkeypatch.delenv("NOTIFY_SOCKET")
    systemd.notify("READY=1")
