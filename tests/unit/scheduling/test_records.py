"""What is known of a schedule's runs outlives whoever runs them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from tidegate.domain.errors import Conflict, IntegrityError
from tidegate.scheduling.records import ScheduleRecords

NOW = datetime(2026, 3, 2, 2, 30, 5, tzinfo=UTC)
DUE = datetime(2026, 3, 2, 2, 30, tzinfo=UTC)


def test_a_run_is_recorded_before_it_begins_and_when_it_ended(tmp_path: Path) -> None:
    records = ScheduleRecords(tmp_path / "schedules")
    assert records.read("nightly") is None
    with records.running("nightly", DUE, NOW) as record:
        begun = records.read("nightly")
        assert begun is not None
        assert begun.moment == DUE
        assert not begun.ended
        ended = records.end("nightly", record, NOW, 5, False)
    assert records.read("nightly") == ended
    assert ended.failed


def test_one_run_of_a_schedule_at_a_time(tmp_path: Path) -> None:
    records = ScheduleRecords(tmp_path)
    with records.running("nightly", DUE, NOW), pytest.raises(Conflict), records.running("nightly", DUE, NOW):
        pass
    with records.running("nightly", DUE, NOW):
        pass


def test_when_a_schedule_last_worked_outlives_runs_that_fail_and_a_damaged_record(tmp_path: Path) -> None:
    records = ScheduleRecords(tmp_path)
    for code in (0, 5, 5):
        with records.running("nightly", DUE, NOW) as record:
            assert record.succeeded_at == ("" if code == 0 else NOW.isoformat())
            records.end("nightly", record, NOW, code, False)
    (tmp_path / "nightly.json").write_bytes(b"{")
    with records.running("nightly", DUE, NOW) as record:
        assert record.succeeded_at == ""


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"since": 5}', b'{"since": "yesterday"}'])
def test_a_damaged_record_is_said_to_be(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "nightly.json").write_bytes(content)
    with pytest.raises(IntegrityError, match=r"nightly\.json"):
        ScheduleRecords(tmp_path).read("nightly")
