"""Every request is accounted for, whatever the disk does; and what was written is read back to the bit."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving_builders import T0
from tidegate.domain.errors import InvalidInput, NotFound
from tidegate.domain.slots import Slot
from tidegate.ports.inference_records import Selection
from tidegate.serving.records import InferenceLogFiles
from tidegate.serving.runtime.dataplane import Prediction
from tidegate.serving.runtime.inference_log import Identity, InferenceLog, LogLimits, Served, sampled

BLUE = Identity("demand", "a" * 64, "blue", 0)
GREEN = Identity("demand", "b" * 64, "green", 0)


def prediction(n: int = 2) -> Prediction:
    features = np.array([[0.1, np.nan], [1e-42, -0.0]], dtype=np.float32)[:n]
    outputs = {"quantiles": np.array([[1 / 3, 2, 3], [4, 5, 6]], dtype=np.float32)[:n]}
    return Prediction(("S1", "S2")[:n], {"horizon": np.array([1, 2])[:n]}, np.full(n, T0), outputs, {"features": features})


def served(request_id: str, status: int = 200, shadow: bool = False, at: float = 1000.0) -> Served:
    return Served(request_id, at, shadow, status, 1.5, prediction() if status == 200 else None, "" if status == 200 else "bad")


def assert_exact(log: InferenceLog) -> None:
    counts = log.counts()
    assert counts.requests == counts.logged + counts.sampled_out + counts.dropped
    assert counts.pending == 0


def test_records_come_back_to_the_bit(tmp_path: Path) -> None:
    log = InferenceLog(tmp_path, BLUE)
    log.start()
    log.offer(served("one"))
    log.offer(served("two", status=422))
    log.close()
    assert_exact(log)
    first, second = list(InferenceLogFiles(tmp_path, "demand").read(Selection()))
    made = prediction()
    assert (first.id, first.release, first.slot, first.shadow, first.status) == ("one", "a" * 64, Slot.BLUE, False, 200)
    assert first.features.tobytes() == made.features.tobytes()
    assert first.outputs["quantiles"].tobytes() == made.outputs["quantiles"].tobytes()
    assert first.event_times.tolist() == [T0, T0]
    assert first.request["horizon"].tolist() == [1, 2]
    assert (second.status, len(second.features), second.entities) == (422, 0, ())


def test_a_clean_stop_leaves_the_counts(tmp_path: Path) -> None:
    log = InferenceLog(tmp_path, BLUE, LogLimits(sample_rate=0.5))
    log.start()
    for i in range(200):
        log.offer(served(f"r{i}", status=200 if i % 3 else 404))
    log.close()
    assert_exact(log)
    summary = json.loads(next(tmp_path.glob("*.summary.json")).read_text())
    assert sum(summary["requests"].values()) == 200
    assert sum(summary["logged"].values()) == len(list(InferenceLogFiles(tmp_path, "demand").read(Selection())))
    assert summary["sampled_out"]


def test_a_full_queue_drops_and_counts(tmp_path: Path) -> None:
    log = InferenceLog(tmp_path, BLUE, LogLimits(records=3))  # its writer is not started
    for i in range(5):
        log.offer(served(f"r{i}"))
    assert log.counts().dropped == Counter({200: 2})
    big = InferenceLog(tmp_path, GREEN, LogLimits(bytes=served("x").nbytes))
    big.offer(served("r0"))
    big.offer(served("r1"))
    assert big.counts().dropped == Counter({200: 1})
    log.close()
    big.close()
    assert_exact(log)
    assert_exact(big)


def test_a_folder_that_cannot_be_written_drops_and_recovers(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "logs"
    folder.write_text("in the way")
    log = InferenceLog(folder, BLUE)
    for i in range(3):
        log.offer(served(f"lost{i}"))
        log._flush()
    assert log.counts().dropped[200] == 3
    assert len(caplog.records) == 1  # one warning, not one a record
    folder.unlink()
    log.offer(served("kept"))
    log.close()
    assert_exact(log)
    assert [r.id for r in list(InferenceLogFiles(folder, "demand").read(Selection()))] == ["kept"]


def test_a_full_disk_never_leaves_half_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = InferenceLog(tmp_path, BLUE)
    log.offer(served("before"))
    log._flush()
    line = next(tmp_path.glob("*.jsonl")).stat().st_size
    room, write = [line + line // 2], os.write

    def write_until_full(fd: int, data: bytes) -> int:
        n = min(len(data), room[0])
        if n == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        room[0] -= n
        return write(fd, data[:n])

    monkeypatch.setattr(os, "write", write_until_full)
    for i in range(3):
        log.offer(served(f"full{i}"))
    log._flush()
    assert log.counts().dropped[200] == 2
    room[0] = 10**9
    log.offer(served("after"))
    log.close()
    assert_exact(log)
    files = InferenceLogFiles(tmp_path, "demand")
    assert sorted(r.id for r in files.read(Selection())) == ["after", "before", "full0"]
    assert files.skipped == 0


def test_a_folder_taken_away_gets_a_new_segment(tmp_path: Path) -> None:
    log = InferenceLog(tmp_path / "logs", BLUE)
    log.offer(served("gone"))
    log._flush()
    shutil.rmtree(tmp_path / "logs")
    log.offer(served("kept"))
    log.close()
    assert [r.id for r in list(InferenceLogFiles(tmp_path / "logs", "demand").read(Selection()))] == ["kept"]


@given(st.text(min_size=1, max_size=40), st.floats(0, 1), st.floats(0, 1))
def test_sampling_depends_on_the_id_alone_and_grows_with_the_rate(request_id: str, a: float, b: float) -> None:
    low, high = min(a, b), max(a, b)
    assert sampled(request_id, low) <= sampled(request_id, high)
    assert sampled(request_id, 1.0)
    assert not sampled(request_id, 0.0)


def test_the_live_record_of_a_request_is_found_though_the_mirrored_one_is_later(tmp_path: Path) -> None:
    blue, green = InferenceLog(tmp_path, BLUE), InferenceLog(tmp_path, GREEN)
    for i in range(3):
        blue.offer(served(f"r{i}", at=100.0 + i))
        green.offer(served(f"r{i}", shadow=True, at=200.0 + i))
    blue.close()
    green.close()
    files = InferenceLogFiles(tmp_path, "demand")
    assert files.find("r1").shadow is False
    with pytest.raises(NotFound, match="request 'nope'"):
        files.find("nope")
    assert list(InferenceLogFiles(tmp_path, "other").read(Selection())) == []
    assert list(InferenceLogFiles(tmp_path / "absent", "demand").read(Selection())) == []


def test_bad_lines_are_counted_and_a_torn_last_line_waits(tmp_path: Path) -> None:
    log = InferenceLog(tmp_path, BLUE)
    log.offer(served("whole"))
    log.close()
    segment = next(tmp_path.glob("*.jsonl"))
    line = segment.read_bytes()
    torn = line.replace(b"whole", b"later")
    segment.write_bytes(b"\xff rubbish\n" + line + b'{"id": 3}\n' + torn[:40])
    files = InferenceLogFiles(tmp_path, "demand")
    assert [r.id for r in files.read(Selection())] == ["whole"]
    assert files.skipped == 2
    with segment.open("ab") as handle:
        handle.write(torn[40:])
    assert [r.id for r in files.read(Selection())] == ["whole", "later"]
    assert files.skipped == 2


def test_a_request_is_found_by_the_gateways_id_and_by_the_clients_where_it_names_one(tmp_path: Path) -> None:
    lines = [
        {"id": "g1", "client_id": "order 7", "at": 1.0},
        {"id": "g1", "client_id": "order 7", "at": 1.1, "shadow": True},
        {"id": "g2", "client_id": "again", "at": 2.0},
        {"id": "g3", "client_id": "again", "at": 3.0},
        {"id": "old", "at": 4.0},
    ]
    write_lines(tmp_path, lines)
    files = InferenceLogFiles(tmp_path, "demand")
    found = files.find("order 7")
    assert (found.id, found.client_id, found.shadow) == ("g1", "order 7", False)
    assert files.find("g3").client_id == "again"
    assert files.find("old").client_id == ""
    with pytest.raises(InvalidInput, match=r"2 requests the id 'again'.*latest are g2, g3"):
        files.find("again")
    with pytest.raises(NotFound):
        files.find("")


@pytest.mark.parametrize(
    "wrong",
    [
        {"event_times": [2**70]},
        {"entities": ["a", "b"]},
        {"inputs": {"horizon": [1, 2, 3]}},
        {"features": "?"},
        {"features": "AAAA"},
        {"outputs": {"y": {"dtype": "object", "shape": [1], "data": "AAAAAAAAAAA="}}},
        {"outputs": {"y": {"dtype": "float32", "shape": [2**63], "data": ""}}},
        {"rows": -1},
        {"latency_ms": None},
        {"at": 1e400},
        {"status": "ok"},
    ],
)
def test_a_record_whose_parts_do_not_belong_together_is_skipped_and_counted(tmp_path: Path, wrong: dict[str, object]) -> None:
    whole = {"rows": 1, "entities": ["a"], "event_times": [1], "inputs": {"horizon": [2**70]}, "features": "AACAPw=="}
    write_lines(tmp_path, [{"id": "good", **whole}, {"id": "bad", **whole, **wrong}])
    files = InferenceLogFiles(tmp_path, "demand")
    assert [r.id for r in files.read(Selection())] == ["good"]
    assert files.skipped == 1


def write_lines(folder: Path, lines: list[dict[str, object]]) -> None:
    common = {"at": 1.0, "model": "demand", "release": "a", "slot": "blue", "shadow": False, "status": 200, "latency_ms": 1.0}
    text = "".join(json.dumps({**common, "rows": 0, **line}) + "\n" for line in lines)
    (folder / "blue-0-1-0.jsonl").write_text(text.replace("Infinity", "1e400"))
