"""What an inference log promises to gates, kept by files of one machine, by a stream of Redis, and by the fake."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fakes.inference_records import FakeRecords
from tidegate.adapters.redis.record_sink import RedisSink
from tidegate.adapters.redis.records import RedisRecords
from tidegate.domain.errors import Unavailable
from tidegate.domain.slots import Slot
from tidegate.files.record_index import DAY_US, read_head
from tidegate.ports.inference_records import InferenceRecord, InferenceRecords, Selection
from tidegate.serving.records import InferenceLogFiles, read_record
from tidegate.serving.runtime.dataplane import Prediction
from tidegate.serving.runtime.inference_log import Identity, InferenceLog, Served

NOW = time.time()


@dataclass(frozen=True)
class Log:
    """`write` gives a pod's or slot's log, `read` opens a reader."""

    write: Callable[[Identity], InferenceLog]
    read: Callable[[str], InferenceRecords]


class MemorySink:
    """Puts records into fakes, one a model."""

    names: list[str] = []  # noqa: RUF012 (as of any sink)

    def __init__(self, records: FakeRecords) -> None:
        self.records = records

    def append(self, lines: list[bytes]) -> int:
        found = [(head, read_record(head, line)) for line in lines if (head := read_head(line))]
        self.records.all += [record for _, record in found if record]
        return len(lines)

    def close(self) -> None: ...


@pytest.fixture(params=["files", "redis", "fake"])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Log:
    if request.param == "fake":
        fakes: dict[str, FakeRecords] = defaultdict(FakeRecords)
        return Log(lambda who: InferenceLog(tmp_path, who, sink=MemorySink(fakes[who.model])), lambda model: fakes[model])
    if request.param == "files":
        return Log(lambda who: InferenceLog(tmp_path, who), lambda model: InferenceLogFiles(tmp_path, model))
    url = request.getfixturevalue("redis_url").rpartition("/")[0] + "/7"
    import redis

    redis.Redis.from_url(url).flushdb()
    return Log(lambda who: InferenceLog(tmp_path, who, sink=RedisSink(url, who.model)), lambda model: RedisRecords(url, model))


def who(release: str, model: str = "demand") -> Identity:
    return Identity(model, release * 64, "blue" if release == "a" else "green", 0)


def served(
    id: str, at: float = 0.0, shadow: bool = False, status: int = 200, keyed: bool = True, day: int | None = 0
) -> Served:
    features = np.array([[0.1, np.nan], [1e-42, -0.0]], dtype=np.float32)
    outputs = {"quantiles": np.array([[1 / 3, 2, 3], [4, 5, 6]], dtype=np.float32)}
    times = np.full(2, 1_000 + (day or 0) * DAY_US) if day is not None else np.array([], dtype=np.int64)
    inputs = {"horizon": np.array([1, 2])} if keyed else {}
    made = Prediction(("S1", "S2") if keyed else (), inputs, times, outputs, {"features": features})
    return Served(id, NOW + at, shadow, status, 1.5, made if status == 200 else None, "" if status == 200 else "bad")


def filled(log: Log, release: str, *records: Served, model: str = "demand") -> None:
    writer = log.write(who(release, model))
    writer.start()
    for record in records:
        writer.offer(record)
    assert writer.close().logged.total() == len(records)


def read(records: InferenceRecords, newest_first: bool = False, **selected: Any) -> list[InferenceRecord]:
    return list(records.read(Selection(**selected), newest_first))


def ids(records: InferenceRecords, newest_first: bool = False, **selected: Any) -> list[str]:
    return [record.id for record in read(records, newest_first, **selected)]


def test_records_come_back_to_the_bit(log: Log) -> None:
    filled(log, "a", served("one"), served("two", at=1, status=422))
    first, second = read(log.read("demand"))
    made = served("one").prediction
    assert made is not None
    assert first.features.tobytes() == made.features.tobytes()
    assert first.outputs["quantiles"].tobytes() == made.outputs["quantiles"].tobytes()
    assert (first.id, first.release, first.slot, first.entities) == ("one", "a" * 64, Slot.BLUE, ("S1", "S2"))
    assert first.request["horizon"].tolist() == [1, 2]
    assert (second.status, second.entities) == (422, ())


def test_records_are_chosen_by_release_slot_shadow_and_time(log: Log) -> None:
    filled(log, "a", *(served(f"r{i}", at=i) for i in range(3)))
    filled(log, "b", *(served(f"r{i}", at=i + 0.5, shadow=True) for i in range(3)))
    reader = log.read("demand")
    assert ids(reader, release="b" * 64) == ["r0", "r1", "r2"]
    assert ids(reader, newest_first=True, shadow=False) == ["r2", "r1", "r0"]
    assert ids(reader, slot=Slot.BLUE, since=NOW + 1.5) == ["r2"]
    assert ids(reader, slot=Slot.BLUE, since=NOW + 0.5, until=NOW + 1.5) == ["r1"]
    assert [r.at - NOW for r in read(reader)] == pytest.approx([0, 0.5, 1, 1.5, 2, 2.5], abs=1e-5)
    assert [r.at - NOW for r in read(reader, newest_first=True)] == pytest.approx([2.5, 2, 1.5, 1, 0.5, 0], abs=1e-5)


def test_records_are_chosen_by_where_their_vectors_come_from_and_by_the_days_of_their_data(log: Log) -> None:
    filled(
        log,
        "a",
        served("old", day=20),
        served("new", at=1, day=23),
        served("sent", at=2, keyed=False, day=None),
        served("refused", at=3, status=422),
    )
    reader = log.read("demand")
    assert ids(reader, vectors="keyed") == ["old", "new"]
    assert ids(reader, vectors="sent") == ["sent"]
    assert ids(reader, timed=False) == ["sent", "refused"]
    assert ids(reader, days=(20, 23)) == ["old"]
    assert ids(reader, days=(21, 24)) == ["new"]
    assert list(reader.days(Selection())) == [20, 23]
    assert list(reader.days(Selection(since=NOW + 0.5))) == [23]
    assert list(reader.days(Selection(release="b" * 64))) == []


def test_heads_say_who_answered_what_without_the_arrays(log: Log) -> None:
    filled(log, "a", served("one"), served("two", at=1, status=422), served("three", at=2, shadow=True))
    first, second = log.read("demand").heads(Selection(shadow=False))
    assert (first.id, first.release, first.slot, first.status, first.latency_ms) == ("one", "a" * 64, Slot.BLUE, 200, 1.5)
    assert (second.id, second.status, second.error) == ("two", 422, "bad")


def test_a_reader_sees_what_is_written_after_it_was_opened(log: Log) -> None:
    reader = log.read("demand")
    assert ids(reader) == []
    filled(log, "a", served("one"))
    assert ids(reader) == ["one"]
    filled(log, "b", served("two", at=1))
    assert ids(reader) == ["one", "two"]
    assert ids(reader) == ["one", "two"]


def test_models_do_not_see_each_other(log: Log) -> None:
    filled(log, "a", served("one"))
    filled(log, "a", served("other"), model="returns")
    assert ids(log.read("demand")) == ["one"]


def test_redis_that_is_away_costs_records_and_not_requests(tmp_path: Path) -> None:
    writer = InferenceLog(tmp_path, who("a"), sink=RedisSink("redis://127.0.0.1:1/0", "demand"))
    writer.offer(served("one"))
    counts = writer.close()
    assert (counts.requests.total(), counts.dropped.total(), counts.pending) == (1, 1, 0)
    with pytest.raises(Unavailable, match="inference log of model demand"):
        read(RedisRecords("redis://127.0.0.1:1/0", "demand"))


def test_the_stream_forgets_the_oldest_records(redis_url: str, tmp_path: Path) -> None:
    url = redis_url.rpartition("/")[0] + "/8"
    writer = InferenceLog(tmp_path, who("a"), sink=RedisSink(url, "demand", records=100))
    for i in range(1_000):
        writer.offer(served(f"r{i}", at=i / 1000))
    writer.close()
    kept = ids(RedisRecords(url, "demand"))
    assert 100 <= len(kept) < 400
    assert kept[-1] == "r999"
