"""Scheduled work by a real supervisor: runs that are due happen once, end at their limit, and leave nothing behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import psutil
import pytest
import yaml

from e2e.local.conftest import Platform, eventually
from tidegate.adapters.files.project_file import project_with_state
from tidegate.apps.scheduled import problems_of, records_of
from tidegate.scheduling.records import ScheduleRecord

pytestmark = pytest.mark.e2e
DAILY = "0 0 * * *"


def schedule(platform: Platform, **schedules: dict[str, object]) -> None:
    """Schedules whose latest time was missed."""
    file = platform.project.file
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), "schedules": schedules}))
    platform.project = replace(project_with_state(file, platform.project.state))
    for name in schedules:
        records_of(platform.project).begin_looking(name, datetime.now(UTC) - timedelta(days=2))


def record(platform: Platform, name: str) -> ScheduleRecord:
    found = records_of(platform.project).read(name)
    assert found is not None
    return found


def ended(platform: Platform, name: str) -> ScheduleRecord:
    eventually(lambda: bool(record(platform, name).ended), 60)
    return record(platform, name)


@contextmanager
def silent_server() -> Iterator[str]:
    """Something that takes connections and never answers: a command that waits for it hangs."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"redis://127.0.0.1:{server.getsockname()[1]}/0"


def commands(platform: Platform) -> list[psutil.Process]:
    """The commands that runs of this project's schedules have started."""
    named, found = ["-C", str(platform.project.file), "retrain"], []
    for process in psutil.process_iter(["cmdline", "status"]):
        line = process.info["cmdline"] or []
        if process.info["status"] != psutil.STATUS_ZOMBIE and all(part in line for part in named):
            found.append(process)
    return found


def test_a_time_that_was_missed_is_made_up_for_once_and_a_failure_is_kept(platform: Platform) -> None:
    schedule(
        platform,
        works={"cron": DAILY, "run": ["schedule", "list", "--json"]},
        fails={"cron": DAILY, "run": ["registry", "show", "demand", "7"]},
        skips={"cron": DAILY, "run": ["schedule", "list"], "missed": "skip"},
        damaged={"cron": DAILY, "run": ["schedule", "list"]},
    )
    (platform.project.state / "schedules" / "damaged.json").write_text("{")
    platform.up()
    assert ended(platform, "works").exit_code == 0
    assert ended(platform, "fails").exit_code == 3
    assert not record(platform, "skips").started
    once = record(platform, "works")
    eventually(lambda: "damaged.json" in (platform.project.state / "logs" / "supervisor.log").read_text())
    os.kill(platform.pid_of("watcher"), signal.SIGKILL)
    os.kill(platform.up(), signal.SIGKILL)
    platform.up()
    assert record(platform, "works") == once
    metrics = platform.project.state / "schedules/metrics/tidegate.prom"
    eventually(lambda: 'last_run_failed{schedule="fails"} 1.0' in metrics.read_text(), 40)
    assert 'last_run_failed{schedule="works"} 0.0' in metrics.read_text()
    (said,) = [problem for problem in problems_of(platform.project, "demand") if "'fails'" in problem]
    assert "failed with exit code 3; see logs/job-fails.log" in said
    log = (platform.project.state / "logs" / "job-fails.log").read_text()
    assert "error:" in log
    assert "Traceback" not in log


def test_a_run_ends_at_its_time_limit_with_all_that_it_started(platform: Platform) -> None:
    with silent_server() as queue:
        schedule(platform, hangs={"cron": DAILY, "run": ["retrain", "--queue", queue], "timeoutSeconds": 5})
        platform.up()
        eventually(lambda: bool(commands(platform)))
        run = ended(platform, "hangs")
        assert commands(platform) == []
    assert (run.exit_code, run.timed_out) == (124, True)


def test_down_ends_a_run_that_is_under_way(platform: Platform) -> None:
    from tidegate.apps import supervision

    with silent_server() as queue:
        schedule(platform, hangs={"cron": DAILY, "run": ["retrain", "--queue", queue]})
        platform.up()
        eventually(lambda: bool(commands(platform)))
        supervision.stop_supervisor(platform.project)
        assert commands(platform) == []
    assert record(platform, "hangs").exit_code == 143
    assert platform.processes() == []


def test_a_schedule_is_listed_and_run_by_hand(platform: Platform) -> None:
    schedule(platform, works={"cron": DAILY, "run": ["schedule", "list"]}, fails={"cron": DAILY, "run": ["gone"]})

    def tidegate(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "tidegate.cli.main", "-C", str(platform.project.file), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    assert tidegate("schedule", "run", "works").returncode == 0
    failed = tidegate("schedule", "run", "fails", "--json")
    assert failed.returncode == 2
    assert json.loads(failed.stdout)["record"]["exit_code"] == 2
    listed = json.loads(tidegate("schedule", "list", "--json").stdout)["schedules"]
    assert {each["name"]: each["last"]["exit_code"] for each in listed} == {"works": 0, "fails": 2}
    assert "FAILED with exit code 2" in tidegate("schedule", "list").stdout
    assert tidegate("schedule", "run", "nightly").returncode == 3
