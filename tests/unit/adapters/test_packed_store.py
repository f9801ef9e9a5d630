"""The online store's integrity: damage, loss, replacement and hanging are errors of one sentence, and never stale features."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import msgspec
import numpy as np
import pytest

from tidegate.adapters.packed import rows as packed_rows
from tidegate.adapters.packed.columns import Columns, schema_of
from tidegate.adapters.packed.online import open_online_reader
from tidegate.adapters.packed.places import open_backend
from tidegate.adapters.packed.rows import ViewRows, pack, unpack, verify
from tidegate.domain.contract import FeatureContract
from tidegate.domain.errors import IntegrityError, InvalidInput, Unavailable

NAMES = ("x", "y")
CONTRACT = FeatureContract("s", "sku", {"v": NAMES}, ("v__x", "v__y"))
DAY_US = 86_400_000_000


def rows(value: float, entities: tuple[str, ...] = ("a", "b", "c"), day: int = 1, until: int | None = None) -> ViewRows:
    n = len(entities)
    return ViewRows(NAMES, entities, np.full(n, day * DAY_US), np.full((n, 2), value), until)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "features" / "demand" / "online.db"


def write(path: Path, content: ViewRows, view: str = "v") -> None:
    backend = open_backend(str(path), writable=True)
    backend.write({view: content}, replace=True)
    backend.close()


def beside(path: Path) -> Path:
    return path.with_name("online.db.watermark")


# --- what is written is in one file, and vouched for ---


def test_the_newest_rows_are_in_the_file_itself(path: Path, tmp_path: Path) -> None:
    write(path, rows(1.0))
    write(path, rows(2.0, day=2))
    assert sorted(each.name for each in path.parent.iterdir() if each.name[0] != ".") == ["online.db", "online.db.watermark"]
    alone = tmp_path / "alone.db"
    shutil.copy(path, alone)
    assert open_online_reader(str(alone), CONTRACT).read(["a"]).values.tolist() == [[2.0, 2.0]]


def test_a_file_older_than_its_watermark_is_refused_until_it_is_written_again(path: Path, tmp_path: Path) -> None:
    write(path, rows(1.0))
    shutil.copy(path, tmp_path / "months-old.db")
    write(path, rows(2.0, day=150))
    reader = open_online_reader(str(path), CONTRACT)
    assert reader.read(["a"]).values[0, 0] == 2.0
    shutil.copy(tmp_path / "months-old.db", path)
    for ask in (reader.ping, lambda: reader.read(["a"]), open_online_reader(str(path), CONTRACT).ping):
        with pytest.raises(IntegrityError, match=r"older than its watermark.*materialize again"):
            ask()
    write(path, rows(3.0, day=151))
    assert reader.read(["a"]).values[0, 0] == 3.0


def test_every_flipped_byte_of_the_file_is_noticed_on_opening(path: Path) -> None:
    write(path, rows(1.0))
    whole = path.read_bytes()
    for position in range(0, len(whole), 97):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        with pytest.raises((IntegrityError, Unavailable)):
            open_online_reader(str(path), CONTRACT).ping()
        with pytest.raises((IntegrityError, Unavailable)):
            open_online_reader(str(path), CONTRACT).read(["a"])
    path.write_bytes(whole)
    open_online_reader(str(path), CONTRACT).ping()


def test_every_flipped_bit_of_a_row_is_noticed_when_it_is_read() -> None:
    data = pack(("v", "a"), schema_of(NAMES), DAY_US, np.array([1.0, 2.0]).tobytes())
    assert unpack("here", ("v", "a"), data)[1] == DAY_US
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(IntegrityError, match="row of 'a' in view 'v' is damaged"):
            unpack("here", ("v", "a"), bytes(damaged))
    for key in (("v", "b"), ("w", "a"), ("va", ""), ("v", "\ud800")):
        with pytest.raises(IntegrityError, match="damaged"):
            unpack("here", key, data)


def test_a_row_under_another_key_is_no_feature_of_it(path: Path) -> None:
    write(path, rows(1.0))
    beside(path).unlink()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE rows SET data = (SELECT data FROM rows WHERE entity = 'b') WHERE entity = 'a'")
    with pytest.raises(IntegrityError, match="row of 'a' in view 'v' is damaged"):
        open_online_reader(str(path), CONTRACT).read(["a"])


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"sha256": "x"}', b'{"watermark": {}, "sha256": "x"}'])
def test_a_damaged_watermark_names_itself(path: Path, content: bytes) -> None:
    write(path, rows(1.0))
    beside(path).write_bytes(content)
    with pytest.raises(IntegrityError, match=r"online\.db\.watermark"):
        open_online_reader(str(path), CONTRACT).ping()
    write(path, rows(2.0))
    assert open_online_reader(str(path), CONTRACT).read(["a"]).values[0, 0] == 2.0


@pytest.mark.parametrize(
    "edit", [(b'"sequence": 1', b'"sequence": 0'), (b'"rows": 3', b'"rows": 2'), (b'"until": ', b'"until": 9')]
)
def test_a_watermark_with_one_number_changed_is_refused(path: Path, edit: tuple[bytes, bytes]) -> None:
    """It is whole JSON, and says that an older file, or one with fewer rows, or a later moment, is what was written."""
    write(path, rows(1.0))
    content = beside(path).read_bytes()
    assert edit[0] in content
    beside(path).write_bytes(content.replace(*edit))
    with pytest.raises(IntegrityError, match=r"online\.db\.watermark: its watermark is damaged \(its digest does not match\)"):
        open_online_reader(str(path), CONTRACT).ping()


def test_a_watermark_of_a_later_format_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed_rows, "FORMAT", 2)
    write(path, rows(1.0))
    monkeypatch.undo()
    with pytest.raises(IntegrityError, match="format 2, this version reads up to 1"):
        open_online_reader(str(path), CONTRACT).ping()


def test_a_lost_row_is_found_when_all_are_verified(path: Path) -> None:
    write(path, rows(1.0))
    beside(path).unlink()
    backend = open_backend(str(path))
    assert verify(backend, ["v"]) == 3
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM rows WHERE entity = 'b'")
    with pytest.raises(IntegrityError, match="2 rows of view 'v' are not the 3 that were written"):
        verify(backend, ["v"])


# --- the file is replaced, deleted, broken, mended: by another process, while it is read ---


def test_replicas_follow_a_file_that_is_replaced_deleted_and_put_back(path: Path, tmp_path: Path) -> None:
    write(path, rows(1.0))
    replicas = [open_online_reader(str(path), CONTRACT) for _ in range(2)]
    assert [r.read(["a"]).values[0, 0] for r in replicas] == [1.0, 1.0]
    write(tmp_path / "other.db", rows(5.0))
    beside(path).unlink()
    os.replace(tmp_path / "other.db", path)
    assert [r.read(["a"]).values[0, 0] for r in replicas] == [5.0, 5.0]
    path.rename(tmp_path / "away.db")
    for replica in replicas:
        for ask in (replica.ping, lambda replica=replica: replica.read(["a"])):
            with pytest.raises(Unavailable, match="does not exist"):
                ask()
    (tmp_path / "away.db").rename(path)
    assert [r.read(["a"]).values[0, 0] for r in replicas] == [5.0, 5.0]


def test_a_reader_that_began_beside_a_broken_file_recovers_and_readiness_says_what_reading_says(path: Path) -> None:
    write(path, rows(1.0))
    good = path.read_bytes()
    reader = open_online_reader(str(path), CONTRACT)
    for broken in (b"", b"not a database " * 1000, good[: len(good) // 2]):
        path.write_bytes(broken)
        with pytest.raises((IntegrityError, Unavailable)):
            reader.ping()
        with pytest.raises((IntegrityError, Unavailable)):
            reader.read(["a"])
        path.write_bytes(good)
        reader.ping()
        assert reader.read(["a"]).found.all()


def test_readiness_reads_a_row_of_each_view(path: Path) -> None:
    write(path, rows(1.0))
    beside(path).unlink()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE rows SET data = substr(data, 1, 20)")
    with pytest.raises(IntegrityError, match="damaged"):
        open_online_reader(str(path), CONTRACT).ping()


def test_a_killed_writer_leaves_the_rows_of_before_and_the_next_one_clears_up(path: Path) -> None:
    write(path, rows(1.0))
    script = (
        "import os, signal, sys\nimport numpy as np\nfrom pathlib import Path\n"
        "from tidegate.adapters.packed import sqlite as packed_sqlite\n"
        "from tidegate.adapters.packed.rows import ViewRows\n"
        "packed_sqlite.os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "rows = ViewRows(('x', 'y'), ('a',), np.array([9]), np.ones((1, 2)) * 9)\n"
        "packed_sqlite.SqliteRows(Path(sys.argv[1])).write({'v': rows}, True)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert list(path.parent.glob(".online.db-*"))
    assert open_online_reader(str(path), CONTRACT).read(["a", "b"]).values.tolist() == [[1.0, 1.0]] * 2
    write(path, rows(2.0))
    assert not list(path.parent.glob(".online.db-*"))


def test_a_writer_killed_before_its_watermark_leaves_the_new_rows(path: Path) -> None:
    write(path, rows(1.0))
    earlier = beside(path).read_bytes()
    write(path, rows(2.0))
    beside(path).write_bytes(earlier)
    assert open_online_reader(str(path), CONTRACT).read(["a"]).values[0, 0] == 2.0


def test_two_writers_at_once_lose_nothing_of_each_other(path: Path) -> None:
    threads = [threading.Thread(target=write, args=(path, rows(float(i)), f"v{i}")) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stored = open_backend(str(path)).stored()
    assert sorted(stored.views) == [f"v{i}" for i in range(8)]
    assert stored.watermark is not None
    assert stored.watermark.sequence == 8
    assert verify(open_backend(str(path)), stored.views) == 24


def test_readers_see_whole_writes_while_there_are_many(path: Path) -> None:
    write(path, rows(0.0))
    stop = threading.Event()

    def writing() -> None:
        value = 0.0
        while not stop.is_set():
            value += 1
            write(path, rows(value))

    writer = threading.Thread(target=writing)
    writer.start()
    try:
        reader = open_online_reader(str(path), CONTRACT)
        last = -1.0
        for _ in range(200):
            values = reader.read(["a", "b", "c"]).values
            assert len(set(values.ravel().tolist())) == 1
            assert values[0, 0] >= last
            last = values[0, 0]
    finally:
        stop.set()
        writer.join()


def test_a_locked_file_keeps_nobody_waiting(path: Path) -> None:
    write(path, rows(1.0))
    reader = open_online_reader(str(path), CONTRACT)
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    reader.ping()
    assert reader.read(["a"]).found.all()
    write(path, rows(2.0))
    assert reader.read(["a"]).values[0, 0] == 2.0
    holder.close()


def test_other_views_stay_with_the_mark_of_their_own_time(path: Path) -> None:
    write(path, rows(1.0, until=5), "removed")
    write(path, rows(2.0, until=9))
    watermark = open_backend(str(path)).stored().watermark
    assert watermark is not None
    assert {view: mark.until for view, mark in watermark.views.items()} == {"removed": 5, "v": 9}
    reader = open_online_reader(str(path), FeatureContract("s", "sku", {"removed": NAMES}, ("removed__x", "removed__y")))
    assert reader.read(["a"]).values[0, 0] == 1.0
    mark = reader.watermark()
    assert mark is not None
    assert list(mark.views) == ["removed"]


# --- stores of earlier versions ---


def earlier_store(path: Path, value: float) -> sqlite3.Connection:
    """As 5228c61 wrote it: rows without check, in a write-ahead log as long as the connection is open."""
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("CREATE TABLE IF NOT EXISTS views (view TEXT PRIMARY KEY, features TEXT NOT NULL)")
    connection.execute(
        "CREATE TABLE IF NOT EXISTS rows (view TEXT, entity TEXT, data BLOB NOT NULL, PRIMARY KEY (view, entity)) WITHOUT ROWID"
    )
    for view in ("v", "w"):
        connection.execute("INSERT OR REPLACE INTO views VALUES (?, ?)", (view, json.dumps(NAMES)))
        data = msgspec.msgpack.encode((schema_of(NAMES), 7, np.full(2, value).tobytes()))
        connection.execute("INSERT OR REPLACE INTO rows VALUES (?, 'a', ?)", (view, data))
    return connection


def test_a_store_of_an_earlier_version_is_read_and_taken_over_by_the_next_write(path: Path) -> None:
    held = earlier_store(path, 4.0)
    reader = open_online_reader(str(path), CONTRACT)
    reader.ping()
    assert reader.read(["a"]).values.tolist() == [[4.0, 4.0]]
    assert reader.watermark() is None
    assert Path(f"{path}-wal").stat().st_size > 0
    write(path, rows(5.0))
    assert not Path(f"{path}-wal").exists()
    assert reader.read(["a"]).values.tolist() == [[5.0, 5.0]]
    other = open_online_reader(str(path), FeatureContract("s", "sku", {"w": NAMES}, ("w__x", "w__y")))
    assert other.read(["a"]).values.tolist() == [[4.0, 4.0]]
    held.close()


def test_a_store_of_d2027d3_is_read_and_its_slots_read_ours(path: Path) -> None:
    """Which kept no newest times, and whose readers take a watermark with any other key for damage."""
    write(path, rows(4.0))
    beside(path).unlink()
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE newest")
        (content,) = connection.execute("SELECT content FROM watermark").fetchone()
    watermark = json.loads(content)
    assert sorted(watermark) == ["format", "id", "sequence", "views"]
    assert sorted(watermark["views"]["v"]) == ["digest", "rows", "table", "until", "written_at"]
    assert json.loads(Columns(NAMES).to_json()) == list(NAMES)
    reader = open_online_reader(str(path), CONTRACT)
    assert reader.read(["a"]).values.tolist() == [[4.0, 4.0]]
    mark = reader.watermark()
    assert mark is not None
    assert mark.views["v"].newest == 0
    write(path, rows(5.0, day=2), "w")
    held = open_backend(str(path)).stored().watermark
    assert held is not None
    assert {view: each.newest for view, each in held.views.items()} == {"v": 0, "w": 2 * DAY_US}
    assert reader.read(["a"]).values.tolist() == [[4.0, 4.0]]


# --- views with texts ---


def test_texts_lie_behind_numbers_with_a_schema_of_their_own(path: Path) -> None:
    content = ViewRows(("x",), ("a", "b"), np.array([5, 6]), np.array([[1.0], [2.0]]), texts={"t": ["é", None], "u": ["", "z"]})
    write(path, content)
    contract = FeatureContract(
        "s", "key", {"v": ("u", "x", "t")}, ("v__u", "v__x", "v__t"), types={"v__u": "BYTES", "v__t": "BYTES"}
    )
    found = open_online_reader(str(path), contract).read(["b", "c", "a"])
    assert found.values[:, 0].tolist()[::2] == [2.0, 1.0]
    assert {name: column.tolist() for name, column in found.texts.items()} == {
        "v__u": ["z", None, ""],
        "v__t": [None, None, "é"],
    }
    assert len({schema_of(("x", "t")), schema_of(("x",), ("t",)), schema_of((), ("x", "t"))}) == 3
    as_number = FeatureContract("s", "key", {"v": ("t",)}, ("v__t",))
    with pytest.raises(IntegrityError, match="'v' lacks feature 't'"):
        open_online_reader(str(path), as_number).ping()
    with pytest.raises(InvalidInput, match=r"feature 'v:t' of 'a' is a text of 4,098 bytes, allowed are 4,096"):
        write(path, ViewRows(("x",), ("a",), np.array([5]), np.array([[1.0]]), texts={"t": ["é" * 2049]}))
