"""An append that is interrupted anywhere leaves a ledger that goes on, with everything acknowledged still there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from small_disks import fill, small_disk
from tidegate.adapters.files.ledger_file import FileLedger
from tidegate.domain.errors import Unavailable
from tidegate.ledger.chain import Head


class Crash(BaseException):
    """Stands for the end of the process: nothing catches it."""


def crash_in_line(ledger: FileLedger, part: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the next append die after `part` of its line reached the file."""

    def torn(path: Path, line: bytes, size: int) -> None:
        with path.open("ab") as handle:
            handle.write(line[: int(len(line) * part)])
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(ledger, "_write_lines", torn)
        with pytest.raises(Crash):
            ledger.append("verdict", "demand@x", {"lost": True})


@pytest.mark.parametrize("before", [0, 3])
@pytest.mark.parametrize(("part", "kept"), [(0.0, 0), (0.5, 0), (1.0, 1)])
def test_a_torn_line_is_cut_and_a_whole_announced_one_kept(
    before: int, part: float, kept: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = FileLedger(tmp_path, tmp_path / "keys")
    for i in range(before):
        ledger.append("verdict", f"demand@{i}", {})
    crash_in_line(ledger, part, monkeypatch)
    assert ledger.verify().ok
    assert len(list(ledger.entries())) == before
    assert ledger.append("verdict", "demand@y", {}).sequence == before + kept + 1
    verification = ledger.verify()
    assert (verification.ok, verification.entries) == (True, before + kept + 1)


def test_a_full_disk_is_one_sentence_and_nothing_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = FileLedger(tmp_path, tmp_path / "keys")
    ledger.append("verdict", "demand@1", {})

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(Unavailable, match="No space left"):
            ledger.append("verdict", "demand@2", {})
    assert ledger.verify().ok
    assert ledger.append("verdict", "demand@2", {}).sequence == 2


WRITER = """
import sys
from pathlib import Path
from tidegate.adapters.files.ledger_file import FileLedger
ledger = FileLedger(Path(sys.argv[1]), Path(sys.argv[1]) / "keys")
for i in range(int(sys.argv[2])):
    print(ledger.append("verdict", f"demand@{i}", {"filling": "x" * 2000}).sequence, flush=True)
"""


def start_writer(folder: Path, count: int) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", WRITER, str(folder), str(count)], stdout=subprocess.PIPE, text=True)


def test_killed_writers_lose_nothing_acknowledged(tmp_path: Path) -> None:
    acknowledged: list[int] = []
    for stop_after in (1, 4, 9):
        with start_writer(tmp_path, 1000) as writer:
            assert writer.stdout is not None
            for _ in range(stop_after):
                acknowledged.append(int(writer.stdout.readline()))
            writer.send_signal(signal.SIGKILL)
            acknowledged += [int(line) for line in writer.stdout if line.endswith("\n")]
    ledger = FileLedger(tmp_path, tmp_path / "keys")
    assert ledger.verify().ok
    ledger.append("verdict", "after", {})
    sequences = [entry.sequence for entry in ledger.entries()]
    assert sequences == list(range(1, len(sequences) + 1))
    assert set(acknowledged) <= set(sequences)
    assert ledger.verify().ok


def test_threads_and_processes_take_turns(tmp_path: Path) -> None:
    writers = [start_writer(tmp_path, 10) for _ in range(2)]
    ledger = FileLedger(tmp_path, tmp_path / "keys")
    threads = [threading.Thread(target=lambda: [ledger.append("verdict", "t", {}) for _ in range(5)]) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [writer.communicate(timeout=60)[0].count("\n") for writer in writers] == [10, 10]
    verification = ledger.verify()
    assert (verification.ok, verification.entries) == (True, 35)


def test_a_disk_that_is_full_records_nothing_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        ledger = FileLedger(disk / "ledger", disk / "keys")
        ledger.append("verdict", "demand@1", {"filling": "x" * 5000})
        filling = fill(disk)
        for _ in range(3):
            with pytest.raises(Unavailable, match="nothing was recorded"):
                ledger.append("verdict", "demand@2", {"filling": "x" * 5000})
        assert (ledger.verify().ok, ledger.verify().entries) == (True, 1)
        filling.unlink()
        assert ledger.append("verdict", "demand@2", {}).sequence == 2
        assert ledger.verify().ok


def test_an_entry_whose_head_could_not_be_written_is_not_found_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = FileLedger(tmp_path, tmp_path / "keys")
    ledger.append("verdict", "demand@1", {})
    write = ledger._write_head

    def refused(head: Head, key: object) -> None:
        if not head.pending:
            raise OSError(28, "No space left on device")
        write(head, key)

    with monkeypatch.context() as patch:
        patch.setattr(ledger, "_write_head", refused)
        with pytest.raises(Unavailable, match="nothing was recorded"):
            ledger.append("verdict", "demand@2", {})
    assert ledger.append("verdict", "demand@3", {}).sequence == 2
    assert [entry.subject for entry in ledger.entries()] == ["demand@1", "demand@3"]
