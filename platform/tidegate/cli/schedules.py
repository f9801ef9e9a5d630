"""Commands about scheduled work: schedule list, run, values."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import click

from tidegate.cli.session import Session, command, dry_run_option, examples
from tidegate.domain.errors import IntegrityError, Unavailable


@click.group(epilog=examples("tidegate schedule list", "tidegate schedule run nightly", "tidegate schedule values --json"))
def schedule() -> None:
    """Commands that run at stated times: `schedules` of the project file, run while the platform is up."""


@schedule.command(name="list", epilog=examples("tidegate schedule list --json"))
@command()
def list_schedules(session: Session) -> None:
    """Every schedule: when it runs next, and how its last run went."""
    from tidegate.apps import wiring
    from tidegate.apps.scheduled import records_of, standings

    times, records, now = wiring.cron_times(), records_of(session.project), datetime.now(UTC)
    standing = {each.name: each for each in standings(session.project, now)}
    found: list[dict[str, Any]] = []
    for name, each in session.project.schedules.items():
        following = times.next(each.cron, each.zone, now)
        try:
            record, problem = records.read(name), None
        except IntegrityError as error:
            record, problem = None, str(error)
        last = record if record is not None and record.due else None
        shown: dict[str, Any] = {"name": name, "cron": each.cron, "timeZone": each.zone, "run": list(each.run)}
        shown |= {"next": following.isoformat() if following else None, "last": last, "problem": problem}
        shown |= {"failed": standing[name].failed, "late": standing[name].late}
        found.append(shown)
    up = session.platform.is_up()
    lines = [_line(each) for each in found] or ["the project file has no schedules"]
    if found and not up:
        lines.append("nothing runs by itself: the platform is down, start it with 'tidegate up'")
    session.emit({"up": up, "schedules": found}, "\n".join(lines))


def _line(of: dict[str, Any]) -> str:
    last = of["last"]
    if of["problem"]:
        went = f"DOES NOT RUN: {of['problem']}"
    elif last is None:
        went = "never ran"
    elif not last.ended:
        went = f"began {last.started[:16]}, " + ("WAS CUT OFF" if of["failed"] else "runs or was cut off")
    else:
        how = (
            "ok"
            if not last.failed
            else "ended at its time limit"
            if last.timed_out
            else f"FAILED with exit code {last.exit_code}"
        )
        went = f"last {last.started[:16]} {how}"
    following = of["next"][:16].replace("T", " ") + " UTC" if of["next"] else "never"
    went += ", LATE" if of["late"] else ""
    return f"{of['name']}: next {following} ({of['cron']} {of['timeZone']})  tidegate {' '.join(of['run'])}  {went}"


@schedule.command(epilog=examples("tidegate schedule run nightly", "tidegate schedule run nightly --dry-run"))
@click.argument("name")
@dry_run_option
@command()
def run(session: Session, name: str, dry_run: bool) -> None:
    """Run schedule NAME now, as its time would, and wait for it. Its exit code is that of the command."""
    from tidegate.apps.scheduled import command as command_line
    from tidegate.apps.scheduled import records_of, schedule_of

    wanted = schedule_of(session.project, name)
    if dry_run:
        session.emit({"run": list(wanted.run)}, f"would run: tidegate {' '.join(wanted.run)}")
        return
    try:
        child = subprocess.Popen(command_line(session.project, name, datetime.now(UTC)), start_new_session=True)
    except OSError as error:
        raise Unavailable(f"schedule '{name}': its process cannot be started ({error.strerror})") from error
    try:
        code = child.wait()
    except KeyboardInterrupt:
        child.terminate()
        code = child.wait()
    record = records_of(session.project).read(name)
    session.emit({"schedule": name, "exit_code": code, "record": record}, f"schedule {name} ended with exit code {code}")
    sys.stdout.flush()
    if code:
        raise click.exceptions.Exit(code)


@schedule.command(epilog=examples("tidegate schedule values > schedules.json", "helm upgrade ... -f schedules.json"))
@command()
def values(session: Session) -> None:
    """The schedules as values of the platform's chart, which makes a CronJob of each. JSON, which Helm reads as it is."""
    from tidegate.apps.charts import scheduled_values

    session.json = True  # there is no other form
    session.emit({"scheduled": {"schedules": scheduled_values(session.project)}}, "")
