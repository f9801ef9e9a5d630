"""An inference log in memory: records as they are, in the order of their times."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tidegate.files.record_index import DAY_US
from tidegate.ports.inference_records import InferenceRecord, RequestHead, Selection, head_of


class FakeRecords:
    def __init__(self, *parts: Sequence[InferenceRecord]) -> None:
        self.all = [record for part in parts for record in part]

    def read(self, selection: Selection, newest_first: bool = False) -> Iterator[InferenceRecord]:
        found = self._found(selection)
        return iter(found[::-1] if newest_first else found)

    def heads(self, selection: Selection) -> Iterator[RequestHead]:
        return map(head_of, self._found(selection))

    def days(self, selection: Selection) -> Sequence[int]:
        return sorted({_day(record) for record in self._found(selection) if len(record.event_times)})

    def _found(self, selection: Selection) -> list[InferenceRecord]:
        return sorted((record for record in self.all if _selected(record, selection)), key=lambda record: record.at)


def _day(record: InferenceRecord) -> int:
    return int(record.event_times.max()) // DAY_US


def _selected(record: InferenceRecord, wanted: Selection) -> bool:
    timed = bool(len(record.event_times))
    vectors = "keyed" if record.entities else "sent" if len(record.features) else "none"
    return (
        wanted.since <= record.at < wanted.until
        and wanted.release in (None, record.release)
        and wanted.slot in (None, record.slot)
        and wanted.shadow in (None, record.shadow)
        and wanted.vectors in (None, vectors)
        and wanted.timed in (None, timed)
        and (wanted.days is None or (timed and wanted.days[0] <= _day(record) < wanted.days[1]))
    )
