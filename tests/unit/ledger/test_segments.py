"""Closed segments are never written again, are not read in vain, and whatever is done to them is found."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from small_disks import read_only
from tidegate.adapters.files import ledger_segments
from tidegate.adapters.files.ledger_file import FileLedger
from tidegate.domain.actor import Actor
from tidegate.domain.errors import IntegrityError, Unavailable
from tidegate.ledger.chain import Head
from tidegate.ports.ledger import Draft, Query

COUNT, LIMIT = 30, 1000


def opened(folder: Path, *rollouts: str) -> FileLedger:
    return FileLedger(folder / "ledger", folder / "keys", lambda: 1000.0, lambda: rollouts, segment_bytes=LIMIT)


def filled(folder: Path, count: int = COUNT) -> FileLedger:
    ledger = opened(folder)
    for i in range(count):
        ledger.append("rollout.start", f"demand@{i}", {"rollout": f"r{i}"})
    return ledger


def files(folder: Path) -> list[Path]:
    return sorted((folder / "ledger").glob("ledger*.jsonl"), key=lambda path: (path.name != "ledger.jsonl", path.name))


def head(folder: Path) -> dict[str, object]:
    found = json.loads((folder / "keys" / "head.json").read_bytes())
    assert isinstance(found, dict)
    return found


def test_a_full_segment_is_closed_and_never_written_again(tmp_path: Path) -> None:
    ledger = filled(tmp_path, 10)
    closed = {path: path.read_bytes() for path in files(tmp_path)[:-1]}
    assert len(closed) >= 2
    for i in range(20):
        ledger.append("verdict", f"demand@{i}", {})
    assert {path: path.read_bytes() for path in closed} == closed
    assert opened(tmp_path).verify().entries == 30
    assert b"".join(path.read_bytes() for path in files(tmp_path)).count(b"\n") == 30


def test_a_ledger_of_one_file_that_has_no_seals_goes_on_in_segments(tmp_path: Path) -> None:
    before = FileLedger(tmp_path / "ledger", tmp_path / "keys")
    for i in range(COUNT):
        before.append("verdict", f"demand@{i}", {})
    assert set(head(tmp_path)) == {"sequence", "hash", "size", "pending", "signature"}  # the bytes of earlier versions
    old = files(tmp_path)[0].read_bytes()
    ledger = opened(tmp_path)
    assert [ledger.append("verdict", "demand@x", {}).sequence for _ in range(2)] == [COUNT + 1, COUNT + 2]
    assert [path.name for path in files(tmp_path)] == ["ledger.jsonl", f"ledger-{COUNT + 1:012d}.jsonl"]
    assert files(tmp_path)[0].read_bytes() == old
    assert opened(tmp_path).verify().entries == COUNT + 2
    assert before.check().entries == COUNT + 2  # an object that read it when it was one file


def edited(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b'"rollout":"r1"', b'"rollout":"rX"').replace(b'"r12"', b'"rXX"'))


CHANGES: dict[str, tuple[Callable[[list[Path]], object], str]] = {
    "edited": (lambda found: [edited(path) for path in found[:-1]], "entry 2 was edited"),
    "taken away": (lambda found: found[1].unlink(), "are missing"),
    "cut": (lambda found: os.truncate(found[1], found[1].stat().st_size - 3), "missing"),
    "emptied": (lambda found: os.truncate(found[0], 0), "missing"),
    "grown": (lambda found: found[0].write_bytes(found[0].read_bytes() + b"junk"), "4 bytes follow"),
    "swapped": (lambda found: shutil.copy(found[1], found[0]), "entry 1 was deleted"),
}


@pytest.mark.parametrize("case", CHANGES)
@pytest.mark.parametrize("in_use", [True, False])
def test_a_change_of_a_closed_segment_is_found_and_nothing_is_appended_or_read(case: str, in_use: bool, tmp_path: Path) -> None:
    ledger = filled(tmp_path)
    change, problem = CHANGES[case]
    change(files(tmp_path))
    if not in_use:
        ledger = opened(tmp_path)
    assert problem in ledger.verify().problem
    assert any(line.problem for line in ledger.lines())
    with pytest.raises(IntegrityError, match="was not recorded"):
        ledger.append("verdict", "demand@x", {})
    with pytest.raises(IntegrityError):
        list(ledger.entries())
    with pytest.raises(IntegrityError):
        list(ledger.entries(Query(subject="demand@1")))


def test_a_check_finds_what_is_changed_behind_the_back_of_a_process_that_read_it(tmp_path: Path) -> None:
    filled(tmp_path)
    ledger = opened(tmp_path)
    assert len(list(ledger.entries())) == COUNT
    assert ledger.check().ok
    edited(files(tmp_path)[0])
    assert "entry 2 was edited" in ledger.check().problem


@pytest.mark.parametrize("what", ["missing", "empty", "of another", "junk", "reordered"])
def test_seals_are_made_again_from_the_segments(what: str, tmp_path: Path) -> None:
    ledger = filled(tmp_path)
    seals = tmp_path / "ledger" / "segments.jsonl"
    before = seals.read_bytes()
    if what == "missing":
        seals.unlink()
    else:
        lines = before.splitlines(keepends=True)
        changed = {"empty": b"", "of another": before.replace(b'"holds":["', b'"holds":["0'), "junk": b"\xff\n{}\n" * 9}
        seals.write_bytes(changed.get(what, b"".join(lines[::-1])))
    for each in (ledger, opened(tmp_path)):
        assert each.verify().ok
        assert [entry.sequence for entry in each.entries(Query(subject="demand@2"))] == [3]
    for _ in range(8):
        ledger.append("verdict", "demand@x", {})
    assert seals.read_bytes().startswith(before)
    edited(files(tmp_path)[0])
    seals.unlink()
    assert "entry 2 was edited" in opened(tmp_path).check().problem


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    filled(folder, 8)
    return folder


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_no_change_of_any_file_goes_unseen_or_changes_an_answer(made: Path, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copytree(made, folder, dirs_exist_ok=True)
        wanted = list(opened(folder).entries(Query(subject="demand@1")))
        path = data.draw(st.sampled_from([*files(folder), folder / "ledger" / "segments.jsonl"]))
        content = path.read_bytes()
        at, kind = data.draw(st.integers(0, len(content) - 1)), data.draw(st.sampled_from(["flip", "cut", "insert", "delete"]))
        changed = {
            "flip": content[:at] + bytes([content[at] ^ data.draw(st.integers(1, 255))]) + content[at + 1 :],
            "cut": content[:at],
            "insert": content[:at] + data.draw(st.binary(min_size=1, max_size=9)) + content[at:],
            "delete": content[:at] + content[at + data.draw(st.integers(1, 40)) :],
        }[kind]
        path.write_bytes(changed)
        sound = path.name == "segments.jsonl" or changed == content
        assert opened(folder).verify().ok is sound
        with suppress(IntegrityError):
            assert list(opened(folder).entries(Query(subject="demand@1"))) == wanted
        if not sound:
            with pytest.raises(IntegrityError, match="was not recorded"):
                opened(folder).append("verdict", "demand@x", {})


def test_a_file_that_is_no_segment_of_the_head_is_found_by_a_whole_verification(tmp_path: Path) -> None:
    ledger = filled(tmp_path)
    (tmp_path / "ledger" / "ledger-000000009999.jsonl").write_bytes(files(tmp_path)[0].read_bytes())
    assert "was inserted" in ledger.verify().problem


def test_a_query_reads_the_segments_that_may_match_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(tmp_path)
    ledger, read = opened(tmp_path), []
    inner = ledger_segments._read
    monkeypatch.setattr(ledger_segments, "_read", lambda path: read.append(path.name) or inner(path))
    assert ledger.check().ok
    assert [entry.sequence for entry in ledger.entries(Query(subject="demand@1"))] == [2]
    assert next(ledger.entries(newest_first=True)).sequence == COUNT
    assert set(read) == {"ledger.jsonl"}


def test_rollouts_of_closed_segments_are_known(tmp_path: Path) -> None:
    filled(tmp_path)
    assert opened(tmp_path, "r0", "r12", "r29").check().ok
    assert "rollout r77" in opened(tmp_path, "r0", "r77").check().problem


def test_an_older_copy_with_fewer_closed_segments_is_found_by_who_read_more(tmp_path: Path) -> None:
    ledger = filled(tmp_path, 8)
    shutil.copytree(tmp_path, tmp_path / "older")
    for i in range(20):
        ledger.append("verdict", f"demand@{i}", {})
    assert ledger.check().ok
    for part in ("ledger", "keys"):
        shutil.rmtree(tmp_path / part)
        shutil.copytree(tmp_path / "older" / part, tmp_path / part)
    assert "not those that this process read before" in ledger.check().problem


def test_a_process_that_looks_seldom_follows_across_segments(tmp_path: Path) -> None:
    seldom, often = filled(tmp_path, 3), opened(tmp_path)
    for i in range(20):
        often.append("verdict", f"demand@{i}", {})
    assert (seldom.check().ok, seldom.check().entries) == (True, 23)
    assert seldom.append("verdict", "demand@x", {}).sequence == 24


def test_a_read_only_copy_of_segments_is_verified_and_queried(tmp_path: Path) -> None:
    filled(tmp_path / "state")
    (tmp_path / "state" / "ledger" / "lock").unlink()
    with read_only(tmp_path / "state"):
        ledger = opened(tmp_path / "state")
        assert (ledger.verify().ok, ledger.verify().entries) == (True, COUNT)
        assert [entry.sequence for entry in ledger.entries(Query(subject="demand@1"))] == [2]
        with pytest.raises(Unavailable, match="nothing was recorded"):
            ledger.append("verdict", "demand@7", {})


def test_an_entry_says_which_process_recorded_it_and_is_found_by_name_or_identity(tmp_path: Path) -> None:
    alice = Actor("alice", "login of uid 1000")
    ledger = FileLedger(tmp_path / "ledger", tmp_path / "keys", segment_bytes=LIMIT, by=alice)
    for actor in ("ada", "alice", *["tidegate"] * 10):
        ledger.append("verdict", "demand@1", {}, Actor(actor))
    opened(tmp_path).append("verdict", "demand@2", {}, Actor("bob"))
    assert len(files(tmp_path)) > 2
    read = opened(tmp_path)
    assert read.verify().problem == ""
    entries = list(read.entries())
    assert (entries[0].who, entries[1].who, entries[-1].who) == (alice.claiming("ada"), alice, Actor("bob"))
    assert [entry.sequence for entry in read.entries(Query(actor="ada"))] == [1]
    assert [entry.sequence for entry in read.entries(Query(actor="alice"))] == list(range(1, 13))


def test_an_entry_says_who_acted_where_that_is_not_who_recorded_it(tmp_path: Path) -> None:
    gates = Actor("gates", "the API server's review", proven=True)
    ada = Actor("ada@works", "the API server's review, as the order says")
    ledger = FileLedger(tmp_path / "ledger", tmp_path / "keys", segment_bytes=LIMIT, by=gates)
    for actor in (ada, ada.claiming("ada"), gates, Actor("tidegate")):
        ledger.append("freeze", "demand", {}, actor)
    read = opened(tmp_path)
    assert read.verify().problem == ""
    assert [entry.who for entry in read.entries()] == [ada, ada.claiming("ada"), gates, gates.claiming("tidegate")]
    assert [entry.author for entry in read.entries()] == [ada, ada, None, None]
    assert {entry.by for entry in read.entries()} == {gates}
    assert [entry.sequence for entry in read.entries(Query(actor="ada@works"))] == [1, 2]


class Crash(BaseException):
    """Stands for the end of the process: nothing catches it."""


def crash(ledger: FileLedger, method: str, when: Callable[[Head], bool], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let an append die right before a head is written."""
    write = ledger._write_head

    def stop(head: Head, key: object) -> None:
        if when(head):
            raise Crash
        write(head, key)

    with monkeypatch.context() as patch:
        patch.setattr(ledger, method, stop)
        with pytest.raises(Crash):
            ledger.append("verdict", "demand@lost", {})


@pytest.mark.parametrize("at", ["the head that closes", "the line", "the head that covers"])
def test_an_append_that_dies_between_a_segment_and_its_head_goes_on(
    at: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = filled(tmp_path, 1)
    while files(tmp_path)[-1].stat().st_size < LIMIT:
        ledger.append("verdict", "demand@y", {})
    before, closed = ledger.verify().entries, len(files(tmp_path)) - 1
    if at == "the line":
        with monkeypatch.context() as patch:
            patch.setattr(ledger, "_write_lines", lambda *_: (_ for _ in ()).throw(Crash()))
            with pytest.raises(Crash):
                ledger.append("verdict", "demand@lost", {})
    else:
        crash(ledger, "_write_head", lambda head: (head.pending is None) is (at == "the head that covers"), monkeypatch)
    for each in (ledger, opened(tmp_path)):
        assert (each.verify().problem, len(list(each.entries()))) == ("", before)
    kept = 1 if at == "the head that covers" else 0
    assert opened(tmp_path).append("verdict", "demand@z", {}).sequence == before + kept + 1
    assert ledger.append("verdict", "demand@z", {}).sequence == before + kept + 2
    assert ledger.verify().problem == ""
    assert head(tmp_path)["closed"] == closed + 1


@pytest.mark.parametrize("part", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_a_torn_batch_is_cut_and_a_whole_one_kept(part: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = filled(tmp_path, 2)

    def torn(path: Path, lines: bytes, size: int) -> None:
        with path.open("ab") as handle:
            handle.write(lines[: int(len(lines) * part)])
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(ledger, "_write_lines", torn)
        with pytest.raises(Crash):
            ledger.append_many([Draft("decision", f"order/{i}", {"text": "x\n\u2028"}) for i in range(7)])
    assert ledger.verify().problem == ""
    assert not any(line.problem for line in ledger.lines())
    assert len(list(ledger.entries())) == 2
    kept = 7 if part == 1.0 else 0
    assert opened(tmp_path).append("verdict", "demand@y", {}).sequence == 2 + kept + 1
    assert (ledger.verify().problem, ledger.verify().entries) == ("", 3 + kept)


def test_entries_behind_a_batch_that_was_announced_are_someone_elses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = filled(tmp_path, 2)

    def more(path: Path, lines: bytes, size: int) -> None:
        with path.open("ab") as handle:
            handle.write(lines + lines.splitlines(keepends=True)[-1])
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(ledger, "_write_lines", more)
        with pytest.raises(Crash):
            ledger.append_many([Draft("decision", f"order/{i}", {}) for i in range(3)])
    assert "entry 6 is not in its place" in ledger.verify().problem


WRITER = """
import sys
from pathlib import Path
from tidegate.adapters.files.ledger_file import FileLedger
from tidegate.ports.ledger import Draft
ledger = FileLedger(Path(sys.argv[1]), Path(sys.argv[1]) / "keys", segment_bytes=20_000)
for i in range(1000):
    batch = [Draft("decision", f"order/{i}", {"filling": "x" * 500}) for _ in range(8)]
    print(ledger.append_many(batch)[-1].sequence, flush=True)
"""


def test_killed_writers_of_batches_leave_whole_batches(tmp_path: Path) -> None:
    acknowledged = 0
    for stop_after in (3, 11):
        with subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            for _ in range(stop_after):
                acknowledged = int(writer.stdout.readline())
            writer.send_signal(signal.SIGKILL)
            acknowledged = max([acknowledged, *(int(line) for line in writer.stdout if line.endswith("\n"))])
    ledger = FileLedger(tmp_path, tmp_path / "keys", segment_bytes=20_000)
    assert ledger.verify().problem == ""
    count = ledger.append("verdict", "after", {}).sequence - 1
    assert count % 8 == 0
    assert count >= acknowledged
    assert [entry.sequence for entry in ledger.entries()] == list(range(1, count + 2))
