"""Packed rows in a SQLite file that is never changed, only replaced.

A write makes a whole new file beside the old one, syncs it, renames it over, and then replaces `<file>.watermark`: what the
store must hold at least, and the digest of the file's bytes. So there is no write-ahead log that holds the newest rows alone,
a writer that is killed leaves the old file, nobody's lock keeps a reader waiting, and readers see all views of one write.

A reader looks at the file's identity before each read and opens it anew when it is another: the file was written again,
restored, moved or deleted. On opening, the watermark beside it is compared: a file that is older, or whose bytes are not those
that were written, is refused. (A killed writer may leave the watermark behind its file; then the file is newer, and is read.)

Files of earlier versions, with a write-ahead log and without a watermark, are read as they are until the first write.
Limit: Feast's own `materialize` writes in batches of some thousand rows, and each batch copies the file.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path

import msgspec

from tidegate.adapters.packed.columns import Columns, read_columns
from tidegate.adapters.packed.rows import (
    AGAIN,
    READ_TIMEOUT_S,
    WRITE_TIMEOUT_S,
    RowKey,
    Stored,
    ViewRows,
    next_watermark,
    read_watermark,
    rows_digest,
    watermark_bytes,
)
from tidegate.domain.errors import IntegrityError, TidegateError, Unavailable
from tidegate.files.durable_files import locked, replace_durably, sync_folder
from tidegate.ports.features import ViewMark, Watermark

APPLICATION_ID = 0x54494445  # 'TIDE', in the header of files that are never changed in place
HEADER, APPLICATION_AT = 72, 68
VERIFIED_WHOLE = 64 * 1024 * 1024  # bytes: a larger file is not read whole on opening, its rows have checks of their own
OPENINGS = 5  # a file that is replaced while it is opened is opened again
TABLES = """
    CREATE TABLE views (view TEXT PRIMARY KEY, features TEXT NOT NULL);
    CREATE TABLE rows (view TEXT, entity TEXT, data BLOB NOT NULL, PRIMARY KEY (view, entity)) WITHOUT ROWID;
    CREATE TABLE watermark (content TEXT NOT NULL);
    CREATE TABLE newest (view TEXT PRIMARY KEY, at INTEGER NOT NULL);
"""
READ = (
    "SELECT r.view, r.entity, r.data FROM json_each(?) v CROSS JOIN json_each(?) e "
    "CROSS JOIN rows r ON r.view = v.value AND r.entity = e.value"
)
READ_OTHERS = (
    "SELECT r.view, r.entity, r.data FROM json_each(?) k "
    "CROSS JOIN rows r ON r.view = json_extract(k.value, '$[0]') AND r.entity = json_extract(k.value, '$[1]')"
)

logger = logging.getLogger("tidegate.features")
Identity = tuple[int, int, int, int]  # device, inode, size, time of the last change


class Beside(msgspec.Struct):
    """The file beside the store: its watermark, and the digest of its bytes."""

    watermark: msgspec.Raw
    sha256: str


@dataclass(frozen=True)
class _Opened:
    connection: sqlite3.Connection
    identity: Identity
    watermark: Watermark | None


class SqliteRows:
    """A connection a thread: SQLite's are not for several at once. Readers never wait for each other."""

    def __init__(self, path: Path) -> None:
        self.where = str(path)
        self._path = path
        self._beside = path.with_name(f"{path.name}.watermark")
        self._local = threading.local()
        self._connections: set[sqlite3.Connection] = set()
        self._lock = threading.Lock()
        self._verified: Identity | None = None

    # --- reading ----------------------------------------------------------------------------------------------------

    def stored(self) -> Stored:
        opened = self._open()
        return Stored(self._views(opened), opened.watermark, opened.identity)

    def read(
        self, views: Sequence[str], entities: Sequence[str], others: Sequence[RowKey] = ()
    ) -> tuple[object, dict[RowKey, bytes]]:
        opened = self._open()
        try:
            rows = opened.connection.execute(READ, (json.dumps(list(views)), json.dumps(list(entities))))
            found = {(view, entity): data for view, entity, data in rows}
            if others:
                more = opened.connection.execute(READ_OTHERS, (json.dumps(list(others)),))
                found.update({(view, entity): data for view, entity, data in more})
            return opened.identity, found
        except sqlite3.Error as error:
            raise self._failed("read", error) from error

    def sample(self, view: str) -> tuple[str, bytes] | None:
        opened = self._open()
        try:
            found: tuple[str, bytes] | None = opened.connection.execute(
                "SELECT entity, data FROM rows WHERE view = ? LIMIT 1", (view,)
            ).fetchone()
            return found
        except sqlite3.Error as error:
            raise self._failed("read", error) from error

    def rows(self, view: str) -> Iterator[tuple[str, bytes]]:
        opened = self._open()
        try:
            yield from opened.connection.execute("SELECT entity, data FROM rows WHERE view = ?", (view,))
        except sqlite3.Error as error:
            raise self._failed("read", error) from error

    def close(self) -> None:
        with self._lock:
            for connection in self._connections:
                connection.close()
            self._connections.clear()
        self._local = threading.local()

    def _views(self, opened: _Opened) -> dict[str, Columns]:
        try:
            rows = opened.connection.execute("SELECT view, features FROM views").fetchall()
        except sqlite3.Error as error:
            raise self._failed("read", error) from error
        return {view: read_columns(self.where, view, features) for view, features in rows}

    def _open(self) -> _Opened:
        """This thread's connection, to the file that lies there now."""
        opened: _Opened | None = getattr(self._local, "opened", None)
        identity = self._identity()
        if opened is not None and opened.identity == identity:
            return opened
        self._drop_connection()
        for attempt in range(OPENINGS):
            try:
                opened = self._opened_as(identity)
            except TidegateError:
                now = self._identity()
                if now == identity or attempt == OPENINGS - 1:
                    raise
                identity = now
                continue
            break
        assert opened is not None  # noqa: S101 - the last attempt raises
        self._local.opened = opened
        return opened

    def _identity(self) -> Identity:
        try:
            found = os.stat(self.where)
        except FileNotFoundError as error:
            self._drop_connection()
            raise Unavailable(
                f"online store {self.where} does not exist; fill it with 'tidegate features materialize'"
            ) from error
        except OSError as error:
            raise Unavailable(f"online store {self.where}: cannot look at it ({error}); check the file and the disk") from error
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns

    def _opened_as(self, identity: Identity) -> _Opened:
        connection = None
        try:
            connection = self._connect(READ_TIMEOUT_S)
            watermark = self._watermark_in(connection)
            self._compare(watermark, identity)
        except (sqlite3.Error, OSError) as error:
            if connection is not None:
                connection.close()
            raise self._failed("open", error) from error
        except TidegateError:
            if connection is not None:
                connection.close()
            raise
        with self._lock:
            self._connections.add(connection)
        return _Opened(connection, identity, watermark)

    def _connect(self, timeout: float) -> sqlite3.Connection:
        """Read-only; a file of ours without any locks, since it is never changed, others as SQLite does it."""
        ours = self._is_ours()
        uri = f"{self._path.resolve().as_uri()}?{'immutable=1' if ours else 'mode=ro'}"
        connection = sqlite3.connect(uri, uri=True, timeout=timeout, isolation_level=None, check_same_thread=False)
        if ours:
            connection.execute("BEGIN")  # for good: SQLite looks for a journal and for changes once, not at each read
        return connection

    def _is_ours(self) -> bool:
        with open(self.where, "rb") as file:
            header = file.read(HEADER)
        return int.from_bytes(header[APPLICATION_AT:HEADER], "big") == APPLICATION_ID

    def _watermark_in(self, connection: sqlite3.Connection) -> Watermark | None:
        try:
            content = connection.execute("SELECT content FROM watermark").fetchone()
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):
                return None
            raise
        return read_watermark(self.where, content[0], self._newest_in(connection)) if content else None

    def _newest_in(self, connection: sqlite3.Connection) -> dict[str, int]:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'newest'").fetchone():
            return {}  # of an earlier version
        return dict(connection.execute("SELECT view, at FROM newest").fetchall())

    def _compare(self, held: Watermark | None, identity: Identity) -> None:
        """Refuse a file that is older than its watermark, or not the one that was written with it."""
        beside = self._read_beside()
        if beside is None:
            return
        required, sha256 = beside
        if held is None or held.sequence < required.sequence:
            has = f"write {held.sequence}" if held else "no watermark"
            raise IntegrityError(
                f"online store {self.where} is older than its watermark {self._beside.name}: it has {has}, required is write "
                f"{required.sequence}; put the newest file back, or {AGAIN}"
            )
        if held.sequence > required.sequence or self._verified == identity:
            return
        observed, wanted = held.id, required.id
        if observed == wanted and identity[2] <= VERIFIED_WHOLE:
            with self._path.open("rb") as file:
                observed, wanted = file_digest(file, "sha256").hexdigest(), sha256
        if observed != wanted:
            raise IntegrityError(
                f"online store {self.where} is not the file that was written (digest {observed[:12]}, required {wanted[:12]}); "
                f"put that file back, or {AGAIN}"
            )
        self._verified = identity

    def _read_beside(self) -> tuple[Watermark, str] | None:
        try:
            content = self._beside.read_bytes()
        except FileNotFoundError:
            return None
        try:
            beside = msgspec.json.decode(content, type=Beside)
        except msgspec.MsgspecError as error:
            raise IntegrityError(f"online store {self.where}: {self._beside} is damaged ({error}); {AGAIN}") from error
        return read_watermark(str(self._beside), bytes(beside.watermark)), beside.sha256

    def _drop_connection(self) -> None:
        opened: _Opened | None = getattr(self._local, "opened", None)
        self._local.opened = None
        if opened is not None:
            with self._lock:
                self._connections.discard(opened.connection)
            opened.connection.close()

    def _failed(self, what: str, error: Exception) -> TidegateError:
        """The error to raise; what was open is not used again."""
        self._drop_connection()
        if "no such table" in str(error):
            return Unavailable(f"online store {self.where} is empty; fill it with 'tidegate features materialize'")
        if "malformed" in str(error):
            return IntegrityError(f"online store {self.where} is damaged ({error}); put the file back, or {AGAIN}")
        return Unavailable(f"online store {self.where}: cannot {what} it ({error}); check the file and the disk")

    # --- writing ----------------------------------------------------------------------------------------------------

    def write(self, rows: Mapping[str, ViewRows], replace: bool) -> Watermark:
        return self._replace_file(rows, replace, ())

    def drop(self, views: Sequence[str]) -> None:
        self._replace_file({}, False, views)

    def _replace_file(self, rows: Mapping[str, ViewRows], replace: bool, dropped: Sequence[str]) -> Watermark:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with locked(self._path.with_name(f".{self._path.name}.lock")):
                for left in self._path.parent.glob(f".{self._path.name}-*"):
                    left.unlink(missing_ok=True)  # of a writer that was killed
                descriptor, fresh = tempfile.mkstemp(prefix=f".{self._path.name}-", dir=self._path.parent)
                os.close(descriptor)
                try:
                    watermark = self._make(fresh, rows, replace, dropped)
                    self._put(fresh, watermark)
                finally:
                    Path(fresh).unlink(missing_ok=True)
                return watermark
        except (sqlite3.Error, OSError) as error:
            raise self._failed("write", error) from error

    def _make(self, fresh: str, rows: Mapping[str, ViewRows], replace: bool, dropped: Sequence[str]) -> Watermark:
        """Fill the file `fresh` with what stays and what is new; returns its watermark, which it holds too."""
        with closing(sqlite3.connect(fresh, isolation_level=None)) as connection:
            connection.executescript(
                f"PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA application_id = {APPLICATION_ID}; {TABLES}"
            )
            connection.execute("BEGIN")
            gone = {*dropped, *(rows if replace else ())}
            marks, sequence = self._keep(connection, {v: c.columns for v, c in rows.items()}, gone)
            for view, content in rows.items():
                earlier = marks.get(view)
                connection.execute("INSERT OR REPLACE INTO views VALUES (?, ?)", (view, content.columns.to_json()))
                packed = content.packed(view)
                connection.executemany(
                    "INSERT OR REPLACE INTO rows VALUES (?, ?, ?)", ((view, e, d) for e, d in packed.items())
                )
                all_rows = connection.execute("SELECT entity, data FROM rows WHERE view = ?", (view,)).fetchall()
                marks[view] = content.mark(len(all_rows), rows_digest(all_rows), earlier)
            watermark = next_watermark(sequence + 1, marks)
            connection.execute("INSERT INTO watermark VALUES (?)", (watermark_bytes(watermark).decode(),))
            connection.executemany("INSERT INTO newest VALUES (?, ?)", ((view, each.newest) for view, each in marks.items()))
            connection.execute("COMMIT")
        return watermark

    def _keep(
        self, connection: sqlite3.Connection, new: Mapping[str, Columns], gone: set[str]
    ) -> tuple[dict[str, ViewMark], int]:
        """Copy what stays of the present file; returns the marks of it, and the highest sequence so far."""
        sequence = 0
        with suppress(IntegrityError):  # a damaged watermark ends here
            beside = self._read_beside()
            sequence = beside[0].sequence if beside else 0
        if not self._path.is_file():
            return {}, sequence
        marks: dict[str, ViewMark] = {}
        try:
            self._settle()
            with closing(self._connect(WRITE_TIMEOUT_S)) as old:
                watermark = self._watermark_in(old)
                for view, features in old.execute("SELECT view, features FROM views").fetchall():
                    if view in gone or new.get(view, there := read_columns(self.where, view, features)) != there:
                        continue
                    connection.execute("INSERT INTO views VALUES (?, ?)", (view, features))
                    kept = old.execute("SELECT view, entity, data FROM rows WHERE view = ?", (view,))
                    connection.executemany("INSERT INTO rows VALUES (?, ?, ?)", kept)
                    if watermark and view in watermark.views:
                        marks[view] = watermark.views[view]
        except (sqlite3.DatabaseError, IntegrityError) as error:
            if new.keys() - gone or "lock" in str(error):  # rows would be added to what cannot be read; or it is only busy
                raise
            logger.warning("online store %s is damaged (%s): only what is written now is in it afterwards", self.where, error)
            connection.execute("DELETE FROM rows")  # all is written anew: whatever is damaged is not kept
            connection.execute("DELETE FROM views")
            return {}, sequence
        return marks, max(sequence, watermark.sequence if watermark else 0)

    def _settle(self) -> None:
        """Bring what an earlier version left in the write-ahead log into its file, which is then whole by itself."""
        log = Path(f"{self.where}-wal")
        if self._is_ours() or not log.exists():
            return
        with closing(sqlite3.connect(self._path, timeout=WRITE_TIMEOUT_S, isolation_level=None)) as old:
            busy, _, _ = old.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise sqlite3.OperationalError("its write-ahead log is locked by a reader")

    def _put(self, fresh: str, watermark: Watermark) -> None:
        """Make the file `fresh` the store: synced, then renamed, then vouched for."""
        with open(fresh, "rb+") as file:
            os.fsync(file.fileno())
            sha256 = file_digest(file, "sha256").hexdigest()
        for left in ("-wal", "-shm", "-journal"):  # of the file that goes: SQLite would apply it to this one
            Path(f"{self.where}{left}").unlink(missing_ok=True)
        os.replace(fresh, self._path)
        sync_folder(self._path.parent)
        replace_durably(self._beside, msgspec.json.encode(Beside(msgspec.Raw(watermark_bytes(watermark)), sha256)))
