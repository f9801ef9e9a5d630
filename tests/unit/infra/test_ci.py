"""What continuous integration says when something fails, is flaky or did not run: the real script, over stand-ins."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / ".ci/run"
MAKE = """#!/usr/bin/env bash
case "$*" in
  setup | "lint types imports") mkdir -p build/venv; touch build/venv/.made-of ;;
  *--last-failed*) echo "$AGAIN"; [[ "$AGAIN" != *failed* ]] ;;
  test-cluster*) echo "$ON_CLUSTER"; [[ "$ON_CLUSTER" != *failed* ]] ;;
  test*) echo "$ALONE"; [[ "$ALONE" != *failed* ]] ;;
esac
"""
PYTHON = """#!/usr/bin/env bash
echo "$*" >> one_node
[ "$3" != "${BROKEN:-none}" ] || { echo "no compiler"; exit 1; }
"""


def run(folder: Path, **said: str) -> subprocess.CompletedProcess[str]:
    """The script in a project whose `make test` ends as ALONE says, `make test-cluster` as ON_CLUSTER, and what runs again as
    AGAIN; BROKEN is the command of the one-node cluster that fails."""
    (folder / ".ci").mkdir()
    shutil.copy(SCRIPT, folder / ".ci/run")
    programs = folder / "programs"
    programs.mkdir()
    for name, text in (("make", MAKE), ("python3", PYTHON)):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    told = {"ALONE": "10 passed", "ON_CLUSTER": "5 passed", "AGAIN": "1 passed"} | said
    environment = {"PATH": f"{programs}:{os.environ['PATH']}", **told}
    return subprocess.run(
        ["bash", ".ci/run"], cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=60
    )


def last(done: subprocess.CompletedProcess[str]) -> str:
    return done.stdout.strip().splitlines()[-1]


def test_everything_passed(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert last(done) == "15 passed, 0 of them flaky: 10 on this machine alone, 5 on a real Kubernetes; 0 minutes"
    assert "down --name" in (tmp_path / "one_node").read_text()


@pytest.mark.parametrize(
    "said",
    [
        {"ALONE": "1 failed, 9 passed", "AGAIN": "1 failed"},
        {"ON_CLUSTER": "1 failed, 4 passed", "AGAIN": "1 failed"},
        {"ALONE": "no tests ran"},
        {"ON_CLUSTER": "5 deselected"},
        {"BROKEN": "packages"},
        {"BROKEN": "build"},
        {"BROKEN": "up"},
    ],
)
def test_what_failed_or_did_not_run_fails_it_all(tmp_path: Path, said: dict[str, str]) -> None:
    done = run(tmp_path, **said)
    assert done.returncode != 0, done.stdout


@pytest.mark.parametrize("suite", ["ALONE", "ON_CLUSTER"])
def test_what_passes_when_it_is_run_again_is_named_and_counted(tmp_path: Path, suite: str) -> None:
    told = f"FAILED tests/test_x.py::test_y - lost 1{chr(10)}1 failed, 4 passed"
    done = run(tmp_path, **{suite: told})
    assert done.returncode == 0, done.stdout + done.stderr
    assert "FLAKY: it passed when it was run again: FAILED tests/test_x.py::test_y - lost 1" in done.stdout
    assert "passed, 1 of them flaky" in last(done)


def test_leaving_the_cluster_out_is_asked_for_and_said_in_the_last_line(tmp_path: Path) -> None:
    done = run(tmp_path, TIDEGATE_CI_CLUSTER="no", BROKEN="packages")
    assert done.returncode == 0, done.stdout + done.stderr
    said = "the tests on a Kubernetes were left out by TIDEGATE_CI_CLUSTER=no"
    assert last(done) == f"10 passed, 0 of them flaky; {said}"
    assert not (tmp_path / "one_node").exists()
