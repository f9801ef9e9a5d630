"""The ledger's segments and their seals, as files (see `tidegate.ledger.segments`).

    FOLDER/ledger.jsonl                 the first segment, one entry a line
    FOLDER/ledger-000000000871.jsonl    the one that begins with entry 871
    FOLDER/segments.jsonl               a seal a line, of the closed segments; derived

A closed segment that this object has read is not read again while its file is the same by inode, size and times. One that was
changed within a second before it was read may change again within the same tick of the file system's clock: it is read again.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

from tidegate.domain.errors import IntegrityError, Unavailable
from tidegate.files.durable_files import replace_durably, sync_folder
from tidegate.ledger.chain import Head, from_line, read_chain, split_lines
from tidegate.ledger.segments import Seal, digest_of_seals, end_of, first_of, read_seals, seal, segment_name
from tidegate.ports.ledger import Entry

REMEMBERED = 4  # segments whose entries are kept in memory
RACY_SECONDS = 1.0
Identity = tuple[int, int, int, int]


class SegmentFiles:
    """`seals` are those that the signed head named last."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seals_path = folder / "segments.jsonl"
        self._lines: list[bytes] = []
        self.seals: tuple[Seal, ...] = ()
        self._seen: dict[int, Identity | None] = {}  # by first entry; None where its file has to be read again
        self._parsed: OrderedDict[int, tuple[Identity | None, tuple[Entry, ...]]] = OrderedDict()
        self._mutex = threading.Lock()

    @property
    def end(self) -> Head:
        """Where the closed segments end."""
        return end_of(self.seals)

    @property
    def open(self) -> Path:
        """The segment that is written to."""
        return self._folder / segment_name(self.end.sequence + 1)

    def paths(self) -> list[Path]:
        """All that lie there, in order, known or not."""
        found = {first: path for path in self._folder.glob("ledger*.jsonl") if (first := first_of(path.name)) is not None}
        return [found[first] for first in sorted(found)]

    def follow(self, head: Head) -> str:
        """Take up the seals that the head names; what is wrong with them, empty for nothing."""
        if self._is_named(self._lines, head):
            return ""
        lines = _content(self._seals_path).splitlines(keepends=True)[: head.closed]
        if not self._is_named(lines, head):  # lost or damaged: the segments say it all
            try:
                lines = self._remade(head.closed)
            except IntegrityError as error:
                return str(error).removeprefix("ledger: ")
        if not self._is_named(lines, head):
            return f"its {head.closed} closed segments are not those that the signed head names: some were changed or removed"
        if lines[: len(self._lines)] != self._lines:
            return not_those_read(self.end.sequence)
        self._lines, self.seals = lines, read_seals(lines)
        return ""

    def changed(self, *, all_read: bool) -> str:
        """What is wrong with the files of closed segments, empty for nothing: all of them are read where `all_read`, else those
        that were read before and are not the same any more."""
        for each in self.seals:
            try:
                found = (self._folder / segment_name(each.first)).stat()
            except FileNotFoundError:
                return f"entries {each.first} to {each.last} are missing: there is no {segment_name(each.first)}"
            except OSError as error:
                raise Unavailable(f"ledger: {segment_name(each.first)} cannot be read: {error.strerror}") from error
            known = each.first in self._seen
            same = known and self._seen[each.first] == _identity(found)
            if found.st_size != each.size or (not same and (known or all_read)):
                try:
                    self.content_of(each)
                except IntegrityError as error:
                    return str(error).removeprefix("ledger: ")
        return ""

    def content_of(self, of: Seal) -> bytes:
        """The bytes of a closed segment; raises IntegrityError that names the entry where they are not those sealed."""
        content, identity = _read(self._folder / segment_name(of.first))
        if hashlib.sha256(content).hexdigest() != of.digest:
            after = end_of([each for each in self.seals if each.last < of.first])
            problem = read_chain(content, Head(of.last, of.hash, after.size + of.size), after).problem
            raise IntegrityError(f"ledger: {problem or f'entries {of.first} to {of.last} are not those that were sealed'}")
        self._seen[of.first] = identity
        return content

    def entries_of(self, of: Seal) -> tuple[Entry, ...]:
        """Raises IntegrityError as `content_of` does."""
        with self._mutex:
            identity, entries = self._parsed.get(of.first, (None, ()))
            path = self._folder / segment_name(of.first)
            if identity is None or not path.exists() or identity != _identity(path.stat()):
                lines, _ = split_lines(self.content_of(of))
                entries = tuple(from_line(line, number) for number, line in enumerate(lines, start=of.first))
                self._parsed[of.first] = (self._seen[of.first], entries)
            self._parsed.move_to_end(of.first)
            while len(self._parsed) > REMEMBERED:
                self._parsed.popitem(last=False)
            return entries

    def problem_of_all(self) -> str:
        """Every closed segment checked entry by entry, as if there were no seals; and no other files among them."""
        named = {segment_name(each.first) for each in self.seals} | {self.open.name}
        if strange := [path.name for path in self.paths() if path.name not in named]:
            return f"{', '.join(strange)} is no segment that the signed head knows: it was inserted"
        after = Head()
        for line, each in zip(self._lines, self.seals, strict=True):
            covers = Head(each.last, each.hash, after.size + each.size)
            content = _content(self._folder / segment_name(each.first))
            chain = read_chain(content, covers, after)
            if chain.problem:
                return chain.problem
            if seal(chain.entries, content).to_line() != line:
                return f"the seal of entries {each.first} to {each.last} does not say what they are"
            after = covers
        return ""

    # --- writing, under the ledger's lock ----------------------------------------------------------------------------

    def close(self, head: Head, entries: tuple[Entry, ...], content: bytes) -> Head:
        """The open segment, which holds these acknowledged entries, is sealed; it is closed with the head that is returned,
        once that is signed. Raises Unavailable."""
        lines = [*self._lines, seal(entries, content).to_line()]
        replace_durably(self._seals_path, b"".join(lines))
        return Head(head.sequence, head.hash, head.size, closed=len(lines), seals=digest_of_seals(lines))

    def write(self, path: Path, lines: bytes, size: int) -> None:
        """Append to the open segment, which has `size` bytes, and sync; raises OSError, with nothing left of it."""
        created = not path.exists()
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            written = 0
            try:
                while written < len(lines):
                    written += os.write(descriptor, lines[written:])
                os.fsync(descriptor)
            except OSError:
                os.ftruncate(descriptor, size)
                raise
        finally:
            os.close(descriptor)
        if created:
            sync_folder(path.parent)

    # --- parts ------------------------------------------------------------------------------------------------------

    @staticmethod
    def _is_named(lines: list[bytes], head: Head) -> bool:
        return len(lines) == head.closed and head.seals == (digest_of_seals(lines) if lines else "")

    def _remade(self, count: int) -> list[bytes]:
        """The seals of the first `count` segments, by their entries; raises IntegrityError for one that is not sound."""
        after, lines = Head(), []
        for path in self.paths()[:count]:
            content = _content(path)
            complete, _ = split_lines(content)
            last = from_line(complete[-1], after.sequence + len(complete)) if complete else None
            covers = Head(last.sequence, last.hash, after.size + len(content)) if last else after
            chain = read_chain(content, covers, after)
            if chain.problem or not chain.entries:
                raise IntegrityError(f"ledger: {chain.problem or f'{path.name} is empty'}")
            lines.append(seal(chain.entries, content).to_line())
            after = covers
        return lines


def not_those_read(count: int) -> str:
    return (
        f"its first {count} entries are not those that this process read before: it was cut or replaced; after a restore from "
        "a backup, start the process again"
    )


def read_segments(paths: list[Path]) -> Iterator[bytes]:
    for path in paths:
        yield _content(path)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise Unavailable(f"ledger: {path} cannot be read: {error.strerror}") from error


def _read(path: Path) -> tuple[bytes, Identity | None]:
    try:
        with path.open("rb") as handle:
            found = os.fstat(handle.fileno())
            racy = time.time() - max(found.st_mtime, found.st_ctime) < RACY_SECONDS
            return handle.read(), None if racy else _identity(found)
    except FileNotFoundError as error:
        raise IntegrityError(f"ledger: there is no {path}: it was taken away") from error
    except OSError as error:
        raise Unavailable(f"ledger: {path} cannot be read: {error.strerror}") from error


def _identity(found: os.stat_result) -> Identity:
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
