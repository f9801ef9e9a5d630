"""What an inference log promises to gates, kept by files of one machine and by a stream of Redis alike."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tidegate.adapters.redis.record_sink import RedisSink
from tidegate.adapters.redis.records import RedisRecords
from tidegate.domain.errors import Unavailable
from tidegate.domain.slots import Slot
from tidegate.ports.inference_records import InferenceRecords
from tidegate.serving.records import InferenceLogFiles
from tidegate.serving.runtime.dataplane import Prediction
from tidegate.serving.runtime.inference_log import Identity, InferenceLog, Served

NOW = time.time()


@dataclass(frozen=True)
class Log:
    """`write` gives a pod's or slot's log, `read` opens a reader."""

    write: Callable[[Identity], InferenceLog]
    read: Callable[[str], InferenceRecords]


@pytest.fixture(params=["files", "redis"])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Log:
    if request.param == "files":
        return Log(lambda who: InferenceLog(tmp_path, who), lambda model: InferenceLogFiles(tmp_path, model))
    url = request.getfixturevalue("redis_url").rpartition("/")[0] + "/7"
    import redis

    redis.Redis.from_url(url).flushdb()
    return Log(lambda who: InferenceLog(tmp_path, who, sink=RedisSink(url, who.model)), lambda model: RedisRecords(url, model))


def who(release: str, model: str = "demand") -> Identity:
    return Identity(model, release * 64, "blue" if release == "a" else "green", 0)


def served(id: str, at: float = 0.0, shadow: bool = False, status: int = 200) -> Served:
    features = np.array([[0.1, np.nan], [1e-42, -0.0]], dtype=np.float32)
    outputs = {"quantiles": np.array([[1 / 3, 2, 3], [4, 5, 6]], dtype=np.float32)}
    made = Prediction(("S1", "S2"), {"horizon": np.array([1, 2])}, np.full(2, 1_000), features, outputs)
    return Served(id, NOW + at, shadow, status, 1.5, made if status == 200 else None, "" if status == 200 else "bad")


def filled(log: Log, release: str, *records: Served, model: str = "demand") -> None:
    writer = log.write(who(release, model))
    writer.start()
    for record in records:
        writer.offer(record)
    assert writer.close().logged.total() == len(records)


def test_records_come_back_to_the_bit(log: Log) -> None:
    filled(log, "a", served("one"), served("two", at=1, status=422))
    first, second = log.read("demand").records()
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
    assert [r.id for r in reader.records("b" * 64)] == ["r0", "r1", "r2"]
    assert [r.id for r in reader.records(shadow=False, limit=2)] == ["r1", "r2"]
    assert [r.id for r in reader.records(slot=Slot.BLUE, since=NOW + 1.5)] == ["r2"]
    assert [r.at - NOW for r in reader.records()] == pytest.approx([0, 0.5, 1, 1.5, 2, 2.5], abs=1e-5)
    assert reader.records(limit=0) == []


def test_a_reader_sees_what_is_written_after_it_was_opened(log: Log) -> None:
    reader = log.read("demand")
    assert reader.records() == []
    filled(log, "a", served("one"))
    assert [r.id for r in reader.records()] == ["one"]
    filled(log, "b", served("two", at=1))
    assert [r.id for r in reader.records()] == ["one", "two"]
    assert [r.id for r in reader.records()] == ["one", "two"]


def test_models_do_not_see_each_other(log: Log) -> None:
    filled(log, "a", served("one"))
    filled(log, "a", served("other"), model="returns")
    assert [r.id for r in log.read("demand").records()] == ["one"]


def test_redis_that_is_away_costs_records_and_not_requests(tmp_path: Path) -> None:
    writer = InferenceLog(tmp_path, who("a"), sink=RedisSink("redis://127.0.0.1:1/0", "demand"))
    writer.offer(served("one"))
    counts = writer.close()
    assert (counts.requests.total(), counts.dropped.total(), counts.pending) == (1, 1, 0)
    with pytest.raises(Unavailable, match="inference log of model demand"):
        RedisRecords("redis://127.0.0.1:1/0", "demand").records()


def test_the_stream_forgets_the_oldest_records(redis_url: str, tmp_path: Path) -> None:
    url = redis_url.rpartition("/")[0] + "/8"
    writer = InferenceLog(tmp_path, who("a"), sink=RedisSink(url, "demand", records=100))
    for i in range(1_000):
        writer.offer(served(f"r{i}", at=i / 1000))
    writer.close()
    kept = [record.id for record in RedisRecords(url, "demand").records()]
    assert 100 <= len(kept) < 400
    assert kept[-1] == "r999"
