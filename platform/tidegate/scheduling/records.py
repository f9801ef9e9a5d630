"""What is known of each schedule: since when it is looked at, and its last run. A small file each, replaced whole.

A run that began is recorded before its command starts, so that no time is run twice because a process was killed; a run that
was cut off shows as one without an end.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from tidegate.domain.digests import canonical_json
from tidegate.domain.errors import IntegrityError
from tidegate.domain.formats import Format, Unknown, added, document
from tidegate.files.durable_files import locked, replace_durably

RUN_FORMAT = Format("record of a schedule", Unknown.IGNORED)


@dataclass(frozen=True)
class ScheduleRecord:
    """`since`: no time at or before it is due. The rest is the last run: when it was due and began, and how it ended. Times are
    ISO 8601 in UTC, empty where there is none; a run that goes on, or was cut off, has no end. `succeeded`: when a run ended
    well last."""

    since: str
    due: str = ""
    started: str = ""
    ended: str = ""
    exit_code: int | None = None
    timed_out: bool = False
    succeeded: str = added(default="")

    @property
    def moment(self) -> datetime:
        return datetime.fromisoformat(self.since)

    @property
    def failed(self) -> bool:
        return bool(self.ended) and self.exit_code != 0

    @property
    def succeeded_at(self) -> str:
        return self.ended if self.ended and not self.failed else self.succeeded


class ScheduleRecords:
    """The records in a folder, by the schedule's name."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, name: str) -> ScheduleRecord | None:
        """None for a schedule that nobody has looked at yet; raises IntegrityError for a damaged record."""
        path = self._path(name)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        record = RUN_FORMAT.convert(RUN_FORMAT.parse(content, str(path)), ScheduleRecord, str(path))
        try:
            record.moment.astimezone(UTC)
        except ValueError as error:
            raise IntegrityError(f"{path}: `since` is '{record.since}', required a time; remove the file") from error
        return record

    def begin_looking(self, name: str, now: datetime) -> ScheduleRecord:
        """From now on its times are due."""
        return self._write(name, ScheduleRecord(now.isoformat()))

    @contextmanager
    def running(self, name: str, due: datetime, now: datetime) -> Iterator[ScheduleRecord]:
        """Hold a schedule's only run and record that it began; raises Conflict while another one runs."""
        with locked(self._folder / f".{name}.lock", wait=False):
            succeeded = ""
            with suppress(IntegrityError):  # a damaged record is replaced
                before = self.read(name)
                succeeded = before.succeeded_at if before else ""
            yield self._write(name, ScheduleRecord(due.isoformat(), due.isoformat(), now.isoformat(), succeeded=succeeded))

    def end(self, name: str, record: ScheduleRecord, now: datetime, exit_code: int, timed_out: bool) -> ScheduleRecord:
        ended = replace(record, ended=now.isoformat(), exit_code=exit_code, timed_out=timed_out)
        return self._write(name, ended)

    def _write(self, name: str, record: ScheduleRecord) -> ScheduleRecord:
        self._folder.mkdir(parents=True, exist_ok=True)
        replace_durably(self._path(name), canonical_json({"schema": RUN_FORMAT.newest, **document(record)}))
        return record

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.json"
