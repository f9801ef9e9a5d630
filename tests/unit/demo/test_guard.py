"""Nothing of a story is left running, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cluster.one_node.processes import identify

from demo.models.guard import MARK, nothing_left
from story import ROOT, copy_project, eventually

STORY = """
import subprocess, sys, time
from pathlib import Path
from demo.models.guard import nothing_left
with nothing_left(Path(sys.argv[1]), keep=True):
    print(subprocess.Popen(["sleep", "60"], stdout=subprocess.DEVNULL).pid, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "project").mkdir()
    copy_project(tmp_path / "project")
    return tmp_path


def test_what_a_killed_story_had_started_is_ended(folder: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "platform")))}
    command = [sys.executable, "-c", STORY, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as story:
        assert story.stdout
        started = int(story.stdout.readline())
        story.send_signal(signal.SIGKILL)
    eventually(lambda: identify(started) is None)


@pytest.mark.parametrize("keep", [False, True])
def test_what_runs_at_the_end_is_ended_unless_it_is_to_be_kept(keep: bool, folder: Path) -> None:
    with nothing_left(folder, keep):
        started = subprocess.Popen(["sleep", "60"])
    try:
        assert (started.poll() is None) == keep
        assert MARK not in os.environ
    finally:
        started.kill()
        started.wait()


def test_nothing_is_kept_of_a_story_that_ended_otherwise(folder: Path) -> None:
    def story() -> None:
        with nothing_left(folder, keep=True):
            processes.append(subprocess.Popen(["sleep", "60"]))
            raise ValueError("otherwise")

    processes: list[subprocess.Popen[bytes]] = []
    with pytest.raises(ValueError, match="otherwise"):
        story()
    assert processes[0].wait(10) != 0
