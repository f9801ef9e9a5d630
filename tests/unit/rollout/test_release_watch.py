"""Releases that are edited on disk while slots run them: what is said, when, and how much is read for it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from fakes.local_parts import FakeProbe, FakeProcesses, FakeRouter
from fakes.rollouts import Clock
from tidegate.domain.errors import IntegrityError
from tidegate.domain.local import LocalConfig
from tidegate.domain.slots import Desired, Slot
from tidegate.files.layout import StateFolder
from tidegate.rollout.local.release_watch import EVERY, ReleaseWatch
from tidegate.rollout.local.supervisor import Supervisor
from tidegate.rollout.wanted import read_observed, write_desired

R1, R2 = "1" * 64, "2" * 64


class Watched:
    """Releases that hold one file, which says whether they are whole."""

    def __init__(self, folder: Path) -> None:
        self.state, self.clock, self.read = StateFolder(folder), Clock(100.0), []
        for digest in (R1, R2):
            self.state.release(digest).mkdir(parents=True)
            self.file(digest).write_text("whole")
        self.waiting: list[Callable[[], None]] = []
        self.watch = ReleaseWatch(self.state.release, self.check, self.clock, self.waiting.append)

    def file(self, digest: str) -> Path:
        return self.state.release(digest) / "file"

    def check(self, folder: Path) -> None:
        self.read.append(folder.name[:1])
        if (folder / "file").read_text() != "whole":
            raise IntegrityError(f"release {folder.name[:12]}: 'file' was changed")

    def look(self, *releases: str, times: int = 3) -> dict[str, str]:
        for _ in range(times):
            self.clock.now += EVERY
            self.watch.look(releases)
            while self.waiting:
                self.waiting.pop()()
        return dict(self.watch.problems)


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


def test_a_release_that_is_edited_on_disk_is_a_problem_until_it_is_put_back(watched: Watched) -> None:
    assert watched.look(R1, R2) == {}
    path = watched.file(R1)
    before = path.stat()
    path.write_text("wrong")  # as long as before, and as old
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    (said,) = watched.look(R1, R2).values()
    assert said.startswith(f"release {R1[:12]}: 'file' was changed")
    assert "none can be started again" in said
    path.write_text("whole")
    assert watched.look(R1, R2) == {}


def test_what_has_not_changed_is_not_read_again_and_what_no_slot_has_is_not_looked_at(watched: Watched) -> None:
    watched.look(R1, times=30)
    assert watched.read == ["1"]
    watched.file(R1).unlink()
    assert "No such file" in watched.look(R1)[f"release {R1[:12]}"]
    assert watched.look(R2) == {}
    assert watched.read == ["1", "1", "2"]


def test_what_changes_while_it_is_read_is_read_again_and_one_release_is_read_at_a_time(watched: Watched) -> None:
    watched.watch.look([R1, R2])
    watched.clock.now += EVERY
    watched.watch.look([R1, R2])
    assert len(watched.waiting) == 1
    watched.waiting.pop()()
    watched.file(R1).write_text("wrong")
    assert list(watched.look(R1, R2)) == [f"release {R1[:12]}"]
    assert sorted(watched.read) == ["1", "1", "2"]


def test_the_supervisor_says_it_and_leaves_what_runs(watched: Watched) -> None:
    state, processes = watched.state, FakeProcesses()
    supervisor = Supervisor(
        state,
        LocalConfig(replicas=2),
        processes,
        FakeRouter(),
        FakeProbe(),
        lambda replica: ["serve", replica.name],
        releases=watched.watch,
        clock=watched.clock,
    )
    write_desired(state, Desired("demand", blue=R1, active=Slot.BLUE), 0)

    def look() -> dict[str, str]:
        for _ in range(3):
            watched.clock.now += EVERY
            supervisor.step()
            while watched.waiting:
                watched.waiting.pop()()
        supervisor.step()
        return (read_observed(state) or {})["problems"]

    assert look() == {}
    watched.file(R1).write_text("wrong")
    running = processes.running("envoy")
    assert "'file' was changed" in look()[f"release {R1[:12]}"]
    assert processes.running("envoy") == running
    assert (read_observed(state) or {})["models"]["demand"]["blue"]["ready"] == 2
