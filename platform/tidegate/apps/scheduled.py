"""Scheduled work on this machine: what the supervisor is to start, and the process of one run.

    python -m tidegate.apps.scheduled --state STATE --config tidegate.yaml --schedule NAME --due TIME

A run is a process of its own that leads a process group: it records that it began, runs the schedule's command, ends the whole
group at its time limit or when it is told to end, and records how that went. Its output goes to `logs/job-NAME.log`.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from tidegate.adapters.files.project_file import project_with_state
from tidegate.adapters.machine.local_processes import MARK
from tidegate.apps import wiring
from tidegate.domain.errors import IntegrityError, NotFound, TidegateError
from tidegate.domain.project import Project, did_you_mean
from tidegate.domain.schedule import Schedule
from tidegate.files.durable_files import remove, replace_durably
from tidegate.files.layout import StateFolder
from tidegate.rollout.local.companions import Companion
from tidegate.scheduling.due import due
from tidegate.scheduling.records import ScheduleRecord, ScheduleRecords
from tidegate.scheduling.standing import ScheduleStanding, standing_of

KIND = "job"
EVERY = 1.0  # seconds between looks at what is due
SHOWN_EVERY = 15.0
GRACE = 10.0  # seconds that a command has to end by itself
TIMED_OUT, ENDED = 124, 143  # exit codes, as timeout(1) and a shell have them


def schedule_of(project: Project, name: str) -> Schedule:
    """Raises NotFound, with the nearest name."""
    if name not in project.schedules:
        raise NotFound(f"project '{project.name}' has no schedule '{name}'; {did_you_mean(name, project.schedules)}")
    return project.schedules[name]


def records_of(project: Project) -> ScheduleRecords:
    return ScheduleRecords(StateFolder(project.state).schedules)


def standings(project: Project, now: datetime | None = None) -> list[ScheduleStanding]:
    """How each of the project's schedules stands."""
    records, times, found = records_of(project), wiring.cron_times(), []
    for name, schedule in project.schedules.items():
        try:
            found.append(standing_of(schedule, records.read(name), now or datetime.now(UTC), times))
        except IntegrityError as error:
            found.append(ScheduleStanding(name, failed=True, problem=f"schedule '{name}' does not run: {error}"))
    return found


def problems_of(project: Project, model: str) -> list[str]:
    """What is wrong with the schedules whose command names the model, or none of the project's."""
    wrong = [(set(project.schedules[each.name].run), each.problem) for each in standings(project) if each.problem]
    return [problem for run, problem in wrong if model in run or not run & set(project.models)]


class Shown:
    """Keeps a text file of how schedules stand, for the textfile collector of Prometheus' node exporter."""

    def __init__(self, project: Project, clock: Callable[[], float] = time.monotonic) -> None:
        self._project, self._clock, self._at = project, clock, -SHOWN_EVERY

    def step(self) -> None:
        """Write it, where it is time to; without schedules there is none. Raises Unavailable."""
        if self._clock() - self._at < SHOWN_EVERY:
            return
        self._at, path = self._clock(), StateFolder(self._project.state).schedule_metrics
        if self._project.schedules:
            replace_durably(path, wiring.schedule_metrics(standings(self._project)))
        else:
            remove(path)


def wanted_job(project: Project, clock: Callable[[], float] = time.monotonic) -> Callable[[str], Companion | None]:
    """What the supervisor asks each time: the run of a schedule, if one is due. One that is new is due from its next time
    on. Raises IntegrityError for a damaged record."""
    records, times = records_of(project), wiring.cron_times()
    asked: dict[str, float] = {}
    jobs: dict[str, Companion | None] = {}

    def wanted(name: str) -> Companion | None:
        if clock() - asked.get(name, -EVERY) >= EVERY:
            asked[name], now = clock(), datetime.now(UTC)
            record = records.read(name) or records.begin_looking(name, now)
            moment = due(project.schedules[name], record.moment, now, times)
            jobs[name] = Companion(f"{KIND}-{name}", command(project, name, moment), kind=KIND) if moment else None
        return jobs.get(name)

    return wanted


def command(project: Project, name: str, moment: datetime) -> list[str]:
    """The command line of one run."""
    known = ["--state", str(project.state), "--config", str(project.file)]
    return [sys.executable, "-m", "tidegate.apps.scheduled", *known, "--schedule", name, "--due", moment.isoformat()]


def run(project: Project, name: str, moment: datetime) -> ScheduleRecord:
    """Run the schedule's command in this process' group, which is ended with it. Raises Conflict while it runs already."""
    schedule, records = schedule_of(project, name), records_of(project)
    told: list[int] = []

    def stop(number: int, _: FrameType | None) -> None:
        told.append(number)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    with records.running(name, moment, datetime.now(UTC)) as record:
        code, timed_out = _ran(project, schedule, told)
        return records.end(name, record, datetime.now(UTC), code, timed_out)


def _ran(project: Project, schedule: Schedule, told: Sequence[int]) -> tuple[int, bool]:
    """The command's exit code, and whether it was ended at its time limit."""
    _say(f"runs: tidegate {' '.join(schedule.run)}")
    arguments = [sys.executable, "-m", "tidegate.cli.main", "-C", str(project.file), *schedule.run]
    child = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, env=_environment(project), cwd=project.root)
    deadline = time.monotonic() + schedule.timeout_seconds
    while (code := child.poll()) is None and time.monotonic() < deadline and not told:
        time.sleep(0.05)
    timed_out = code is None and not told
    if code is None:
        _end_group(child)
        code = TIMED_OUT if timed_out else ENDED
    _say(f"ended with exit code {code}" + (f": its limit is {schedule.timeout_seconds} s" if timed_out else ""))
    return code if code >= 0 else 128 - code, timed_out


def _environment(project: Project) -> Mapping[str, str]:
    """That of the supervisor, without what names this process."""
    return {**{k: v for k, v in os.environ.items() if k != MARK}, "TIDEGATE_STATE": str(project.state), "PYTHONSAFEPATH": "1"}


def _end_group(child: subprocess.Popen[bytes]) -> None:
    """The command and all that it started, which are of our group: first asked, then killed."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.killpg(os.getpgrp(), signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        child.wait(GRACE)
    child.kill()
    child.wait()


def _say(text: str) -> None:
    sys.stderr.write(f"{datetime.now(UTC).isoformat(timespec='seconds')} {text}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tidegate.apps.scheduled")
    for name in ("--state", "--config"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--schedule", required=True)
    parser.add_argument("--due", type=datetime.fromisoformat, required=True)
    options = parser.parse_args(arguments)
    if os.getpgrp() != os.getpid():
        os.setpgrp()  # what is ended at the time limit is ours alone
    try:
        ended = run(project_with_state(options.config, options.state), options.schedule, options.due)
    except TidegateError as error:
        _say(str(error))
        return error.exit_code
    return ended.exit_code or 0


if __name__ == "__main__":
    sys.exit(main())
