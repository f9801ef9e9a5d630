"""What every command shares: the project, the platform, and how results are printed.

With `--json`, standard output holds one JSON document and nothing else: whatever vendors print goes to standard error.
Colour is used on a terminal only, and never when NO_COLOR is set. Vendors' log records and warnings go to
state/logs/tidegate.log.
"""

from __future__ import annotations

import json
import math
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

import click

from tidegate.domain.errors import InvalidInput, TidegateError
from tidegate.files.layout import StateFolder

if TYPE_CHECKING:
    from rich.console import Console

    from tidegate.apps.platform import Platform
    from tidegate.domain.actor import Actor
    from tidegate.domain.project import Project
    from tidegate.ports.delivery import Delivery

Command = TypeVar("Command", bound=Callable[..., Any])
LOG = "tidegate.log"


class Session:
    """One run of one command."""

    def __init__(self, project_path: Path | None) -> None:
        self.project_path = project_path
        self.json = False
        self.check_files = True
        self._stdout: IO[str] = sys.stdout

    @cached_property
    def project(self) -> Project:
        from tidegate.adapters.files.project_file import load_project

        return load_project(self.project_path, check_files=self.check_files)

    @cached_property
    def platform(self) -> Platform:
        from tidegate.apps.platform import Platform

        platform = Platform(self.project, progress=self.progress)
        if platform.open_to_others:
            self.progress(platform.open_to_others)
        return platform

    def delivery(self, target: str) -> Delivery:
        from tidegate.apps.deliveries import open_delivery

        return open_delivery(self.platform, target)

    def model(self, name: str | None) -> str:
        """The model named, or the project's only one; raises NotFound or InvalidInput."""
        if name is not None:
            return self.project.model(name).name
        if len(self.project.models) > 1:
            raise InvalidInput(f"name a model: the project has {', '.join(sorted(self.project.models))}")
        return next(iter(self.project.models))

    def progress(self, message: str) -> None:
        """What is being done, on standard error."""
        click.echo(click.style(f"  {message}", dim=True), err=True)

    def emit(self, value: Any, text: str | Callable[[], Any]) -> None:
        """Print `value` as JSON, or else `text` (or whatever a function prints)."""
        if self.json:
            self._stdout.write(json.dumps(_plain(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n")
            self._stdout.flush()
        elif callable(text):
            text()
        else:
            click.echo(text)

    @cached_property
    def console(self) -> Console:
        from rich.console import Console

        width = None if sys.stdout.isatty() else 140
        return Console(highlight=False, width=width, soft_wrap=False)

    @contextmanager
    def quiet_stdout(self) -> Iterator[None]:
        """Keep standard output for `emit`: descriptor 1 points to standard error meanwhile, for child processes too."""
        if not self.json:
            yield
            return
        sys.stdout.flush()
        try:
            saved = os.dup(sys.stdout.fileno())
        except (OSError, ValueError):  # a test's buffer
            yield
            return
        self._stdout = os.fdopen(os.dup(saved), "w", encoding="utf-8")
        os.dup2(2, 1)
        try:
            yield
        finally:
            self._stdout.flush()
            sys.stdout.flush()
            os.dup2(saved, 1)
            os.close(saved)


def command(json_output: bool = True) -> Callable[[Command], Callable[..., Any]]:
    """Give a command the session as first argument, and the option --json."""

    def decorate(function: Command) -> Callable[..., Any]:
        from functools import update_wrapper

        @click.pass_obj
        def wrapped(session: Session, /, *args: Any, as_json: bool = False, **kwargs: Any) -> Any:
            session.json = as_json
            with session.quiet_stdout():
                return function(session, *args, **kwargs)

        update_wrapper(wrapped, function)
        if json_output:
            wrapped = click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")(wrapped)
        return wrapped

    return decorate


def model_argument(function: Command) -> Command:
    return click.argument("model", required=False)(function)


def dry_run_option(function: Command) -> Command:
    return click.option("--dry-run", is_flag=True, help="Say what would be done and change nothing.")(function)


def actor_option(function: click.decorators.FC) -> click.decorators.FC:
    return click.option(
        "--by",
        "actor",
        metavar="NAME",
        default=None,
        help="Who does this, for the ledger; by default your login, which is recorded beside it.",
    )(function)


def acting(whoami: Actor, name: str | None) -> Actor:
    """Who gives an order: who this process is, by the name given if there is one."""
    return whoami.claiming(name) if name else whoami


def examples(*lines: str) -> str:
    """The examples that end a command's help."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def moment(text: str | None) -> datetime | None:
    """A day or time given on the command line, UTC; raises InvalidInput."""
    if text is None:
        return None
    try:
        value = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidInput(f"'{text}' is no time; allowed: a day or time as 2011-09-01 or 2011-09-01T00:00") from error
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def ago(seconds_since_epoch: float, now: float) -> str:
    """`3 min ago`."""
    seconds = max(0.0, now - seconds_since_epoch)
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"


def clock_time(seconds_since_epoch: float) -> str:
    return datetime.fromtimestamp(seconds_since_epoch, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def log_defect(session: Session | None) -> Path:
    """Append the current traceback to the log and say where that is."""
    folder = Path(tempfile.gettempdir())
    if session is not None:
        with suppress(TidegateError):  # no project, no state folder
            folder = StateFolder(session.project.state).logs
    text = f"{datetime.now(UTC).isoformat()} tidegate {' '.join(sys.argv[1:])}\n{traceback.format_exc()}\n"
    for place in (folder, Path(tempfile.gettempdir())):
        try:
            place.mkdir(parents=True, exist_ok=True)
            with (place / LOG).open("a", encoding="utf-8") as log:
                log.write(text)
            return place / LOG
        except OSError:
            continue
    sys.stderr.write(text)
    return Path("standard error")


def _plain(value: Any) -> Any:
    """`value` as JSON has it; numbers that are not finite become null."""
    if hasattr(value, "to_json"):
        value = value.to_json()
    elif is_dataclass(value) and not isinstance(value, type):
        value = {f.name: getattr(value, f.name) for f in fields(value)}
    elif hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (str, int)) else str(value)
