"""Whatever is appended, compressed, pruned, damaged or killed between two looks, a reader gives what the lines say."""

from __future__ import annotations

import gzip
import json
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tidegate.files import record_index, record_segments
from tidegate.files.record_segments import Segment, index_of, pack, packed_path
from tidegate.ports.inference_records import Selection
from tidegate.serving.records import InferenceLogFiles

RELEASES = ("a" * 64, "b" * 64)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (record_index, record_segments):
        monkeypatch.setattr(module, "BLOCK", 2_000, raising=False)
    monkeypatch.setattr(record_segments, "SAVED_EVERY", 4_000)


def line(n: int, rng: random.Random, model: str = "demand") -> bytes:
    keyed = rng.random() < 0.7
    value = {
        "id": f"r{n}",
        "at": round(100 + n / 10 + rng.uniform(-2, 2), 3),
        "model": model,
        "release": rng.choice(RELEASES),
        "slot": "blue",
        "shadow": rng.random() < 0.3,
        "status": 200,
        "latency_ms": 1.0,
        "rows": 1,
        "entities": ["k"] if keyed else [],
        "event_times": [(n // 50) * 86_400_000_000] if keyed else [],
        "features": "AACAPw==",
    }
    return b"rubbish\n" if rng.random() < 0.02 else json.dumps(value).encode() + b"\n"


def expected(lines: list[bytes], wanted: Selection) -> list[str]:
    """By reading every line."""
    found = []
    for each in lines:
        if each == b"rubbish\n":
            continue
        value = json.loads(each)
        day = value["event_times"][0] // 86_400_000_000 if value["event_times"] else None
        if (
            value["model"] == "demand"
            and wanted.since <= value["at"] < wanted.until
            and wanted.release in (None, value["release"])
            and wanted.shadow in (None, value["shadow"])
            and wanted.vectors in (None, "keyed" if value["entities"] else "sent")
            and (wanted.days is None or (day is not None and wanted.days[0] <= day < wanted.days[1]))
        ):
            found.append((value["at"], value["id"]))
    return [id for _, id in sorted(found)]


def selections(rng: random.Random) -> list[Selection]:
    made = [Selection(), Selection(RELEASES[0], shadow=False), Selection(vectors="sent"), Selection(days=(1, 3))]
    since = 100 + rng.uniform(0, 60)
    return [*made, Selection(since=since), Selection(RELEASES[1], since=since, until=since + 9, days=(0, 2), vectors="keyed")]


def check(reader: InferenceLogFiles, lines: list[bytes], rng: random.Random) -> None:
    for wanted in selections(rng):
        said = expected(lines, wanted)
        assert sorted(record.id for record in reader.read(wanted)) == sorted(said)
        oldest, newest = list(reader.read(wanted)), list(reader.read(wanted, newest_first=True))
        assert [each.at for each in oldest] == sorted(each.at for each in oldest)
        assert [each.id for each in newest] == [each.id for each in oldest][::-1]
        assert [each.id for each in reader.heads(wanted)] == [each.id for each in oldest]
        dated = {each.event_times[0] // 86_400_000_000 for each in oldest if len(each.event_times)}
        assert set(reader.days(wanted)) == dated
    assert reader.skipped <= sum(each == b"rubbish\n" for each in lines)


def damage(folder: Path, rng: random.Random) -> None:
    for path in folder.glob("*.index"):
        content = bytearray(path.read_bytes())
        harm = rng.randrange(5)
        if harm == 0:
            path.unlink()
        elif harm == 1:
            content[rng.randrange(len(content))] ^= 0xFF
            path.write_bytes(content)
        elif harm == 2:
            path.write_bytes(content[: rng.randrange(len(content))])
        elif harm == 3 and (others := sorted(folder.glob("*.index"))):
            path.write_bytes(rng.choice(others).read_bytes())


@pytest.mark.parametrize("seed", range(12))
def test_readers_give_what_the_lines_say_whatever_happens_between_two_looks(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    files: dict[Path, list[bytes]] = {}
    known = InferenceLogFiles(tmp_path, "demand")
    n = 0
    for step in range(10):
        path = tmp_path / f"blue-0-1-{step // 2}.jsonl"
        made = [line(n + i, rng, rng.choice(["demand", "demand", "returns"])) for i in range(rng.randrange(60))]
        n += len(made)
        files.setdefault(path, []).extend(made)
        with path.open("ab") as handle:
            handle.write(b"".join(made))
        if rng.random() < 0.5:
            damage(tmp_path, rng)
        closed = [each for each in files if each != path and each.exists()]
        if closed and rng.random() < 0.6:
            pack(rng.choice(closed))
        if len(files) > 2 and rng.random() < 0.3:
            gone = rng.choice([each for each in files if each != path])
            for each in (gone, packed_path(gone)):
                each.unlink(missing_ok=True)
            del files[gone]
        lines = [each for all_ in files.values() for each in all_]
        check(known, lines, rng)
        check(InferenceLogFiles(tmp_path, "demand"), lines, rng)


def lines_of(count: int) -> list[bytes]:
    rng = random.Random(1)
    return [each for n in range(count) if (each := line(n, rng)) != b"rubbish\n"]


def test_a_whole_index_spares_reading_the_lines_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "blue-0-1-0.jsonl"
    path.write_bytes(b"".join(lines_of(200)))
    assert len(list(InferenceLogFiles(tmp_path, "demand").read(Selection()))) > 150
    assert index_of(path).exists()
    read = []
    monkeypatch.setattr(record_segments, "_lines", lambda path, start: read.append(start) or iter(()))
    segment = Segment(path)
    segment.look()
    assert read in ([], [segment.end])
    assert segment.end > path.stat().st_size - 4_000


def test_the_latest_records_are_read_from_the_latest_blocks_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "blue-0-1-0.jsonl").write_bytes(b"".join(lines_of(500)))
    reader = InferenceLogFiles(tmp_path, "demand")
    opened: list[int] = []
    read = Segment.read
    monkeypatch.setattr(Segment, "read", lambda self, block: opened.append(block.start) or read(self, block))
    newest = reader.read(Selection(), newest_first=True)
    for _ in range(3):
        next(newest)
    assert 1 <= len(opened) < 20
    assert len(reader._segments[tmp_path / "blue-0-1-0.jsonl"].blocks) > 50


def test_another_file_of_the_same_name_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "blue-0-1-0.jsonl"
    path.write_bytes(b"".join(lines_of(100)))
    reader = InferenceLogFiles(tmp_path, "demand")
    before = len(list(reader.read(Selection())))
    (tmp_path / "new").write_bytes(b"".join(lines_of(100)[:10]))
    (tmp_path / "new").replace(path)
    after = [len(list(each.read(Selection()))) for each in (reader, InferenceLogFiles(tmp_path, "demand"))]
    assert before > 90
    assert after == [10, 10]


def test_a_segment_that_is_compressed_while_it_is_read_is_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "blue-0-1-0.jsonl"
    lines = lines_of(200)
    path.write_bytes(b"".join(lines))
    for _ in range(2):
        read = InferenceLogFiles(tmp_path, "demand").read(Selection())
        seen = [next(read).id]
        if path.exists():
            assert pack(path) == packed_path(path)
        seen += [record.id for record in read]
        assert len(seen) == len(lines)
    assert gzip.decompress(packed_path(path).read_bytes()) == b"".join(lines)


@pytest.mark.parametrize("harm", [lambda data: data[:-40], lambda data: data[:3000] + b"xx" + data[3002:]])
def test_a_damaged_compressed_segment_costs_its_damaged_blocks(tmp_path: Path, harm: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "blue-0-1-0.jsonl"
    path.write_bytes(b"".join(lines_of(300)))
    packed = pack(path)
    packed.write_bytes(harm(packed.read_bytes()))
    found = list(InferenceLogFiles(tmp_path, "demand").read(Selection()))
    assert 0 < len(found) < 300


@pytest.mark.parametrize("end", ["jsonl", "jsonl.gz"])
def test_what_has_the_name_of_a_segment_and_is_no_file_is_passed_over(tmp_path: Path, end: str) -> None:
    (tmp_path / "blue-0-1-0.jsonl").write_bytes(b"".join(lines_of(100)))
    before = len(list(InferenceLogFiles(tmp_path, "demand").read(Selection())))
    (tmp_path / f"blue-0-1-1.{end}").mkdir()
    (tmp_path / f"blue-0-1-2.{end}").symlink_to("/nowhere/at/all")
    os.mkfifo(tmp_path / f"blue-0-1-3.{end}")
    assert len(list(InferenceLogFiles(tmp_path, "demand").read(Selection()))) == before > 0


def test_a_request_is_found_in_a_compressed_segment(tmp_path: Path) -> None:
    path = tmp_path / "blue-0-1-0.jsonl"
    lines = lines_of(100)
    path.write_bytes(b"".join(lines))
    pack(path)
    wanted = json.loads(lines[50])["id"]
    assert InferenceLogFiles(tmp_path, "demand").find(wanted).id == wanted


def test_a_folder_that_cannot_be_written_is_read_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise PermissionError("read-only")

    (tmp_path / "blue-0-1-0.jsonl").write_bytes(b"".join(lines_of(100)))
    monkeypatch.setattr(Path, "write_bytes", refused)
    assert len(list(InferenceLogFiles(tmp_path, "demand").read(Selection()))) > 90
    assert [path.name for path in tmp_path.iterdir()] == ["blue-0-1-0.jsonl"]
