"""Segments of the inference log, as files: `<slot>-<replica>-<pid>-<n>.jsonl` while it may grow, `.jsonl.gz` once compressed.

A compressed segment holds the same lines, a block in each member of the gzip file, so that any block is read by itself. What
follows the last whole line is left for the next look. A segment that is compressed, pruned or replaced in between is looked at
anew; its blocks keep their places in the lines.
"""

from __future__ import annotations

import gzip
import os
import time
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from tidegate.files.durable_files import sync_folder
from tidegate.files.record_index import BLOCK, SUFFIX, Block, joined, load, read_head, save, summary

PLAIN, PACKED = ".jsonl", ".jsonl.gz"
LEVEL = 6
SAVED_EVERY = 4 * 1024 * 1024  # bytes that a segment grows until its summary is written again
IDLE_SECONDS = 60.0  # a segment that was not written for so long may be whole
WORTH = 64 * 1024  # bytes whose summary is worth a file
TAIL = 64 * 1024


class Gone(Exception):
    """A segment was taken away while it was looked at."""


class Segment:
    """One segment, by the path that it has or had uncompressed. `blocks` tell of its lines as of the last `look`."""

    def __init__(self, path: Path) -> None:
        self.path, self.blocks = path, list[Block]()
        self._file: tuple[str, int] | None = None
        self._saved = 0

    @property
    def end(self) -> int:
        return self.blocks[-1].end if self.blocks else 0

    def look(self, since: float = 0.0) -> None:
        """Bring `blocks` to what the file holds now. A segment that was never looked at and whose last record was made before
        `since` is left alone. Raises Gone."""
        path, stat = _stat(self.path)
        if self._file != (path.name, stat.st_ino) or (path == self.path and stat.st_size < self.end):
            self._file, self.blocks = (path.name, stat.st_ino), load(index_of(path), path)
            self._saved = self.end
        try:
            if path == self.path:
                self._grow(path, stat, since)
            elif not self.blocks:
                self.blocks = list(_members(path))
                save(index_of(path), path, self.blocks)
        except FileNotFoundError as error:
            raise Gone(str(path)) from error

    def _grow(self, path: Path, stat: os.stat_result, since: float) -> None:
        if stat.st_size <= self.end or (not self.blocks and _last(path, stat.st_size) < since - 1):
            return
        for block in _blocks(path, self.end):
            if self.blocks and block.end - self.blocks[-1].start < BLOCK:
                self.blocks[-1] = joined(self.blocks[-1], block)
            else:
                self.blocks.append(block)
        new = self.end - self._saved
        idle = new >= WORTH and not 0 <= time.time() - stat.st_mtime < IDLE_SECONDS
        if new >= SAVED_EVERY or idle:
            save(index_of(path), path, self.blocks)
            self._saved = self.end

    def read(self, block: Block) -> bytes:
        """The lines of one of `blocks`. Raises Gone."""
        try:
            with self.path.open("rb") as handle:
                handle.seek(block.start)
                return handle.read(block.end - block.start)
        except FileNotFoundError:
            return self._unpacked(block)

    def _unpacked(self, block: Block) -> bytes:
        path = packed_path(self.path)
        try:
            members = self.blocks if block.packed else load(index_of(path), path) or list(_members(path))
            parts = [each for each in members if each.start < block.end and block.start < each.end]
            data = b"".join(_member(path, each) for each in parts)
        except (FileNotFoundError, EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise Gone(str(path)) from error
        start = block.start - parts[0].start if parts else 0
        return data[start : start + block.end - block.start]


def segment_paths(folder: Path) -> list[Path]:
    """The segments of a folder, compressed ones too, by the paths that they have uncompressed."""
    found = {path for path in folder.glob(f"*{PLAIN}") if path.is_file()}
    found |= {plain_path(path) for path in folder.glob(f"*{PACKED}") if path.is_file()}
    return sorted(found)


def plain_path(path: Path) -> Path:
    return path.with_name(path.name.removesuffix(".gz"))


def packed_path(path: Path) -> Path:
    return path.with_name(plain_path(path).name + ".gz")


def index_of(path: Path) -> Path:
    """Where the summary of a segment's file is kept."""
    return path.with_name(path.name + SUFFIX)


def read_lines(path: Path) -> Iterator[bytes]:
    """The lines of a segment's file, compressed or not."""
    with gzip.open(path, "rb") if path.name.endswith(".gz") else path.open("rb") as handle:
        yield from handle


def pack(path: Path) -> Path:
    """Compress a segment that nobody writes any more; the path that it has now. Whoever is interrupted leaves it as it was, or
    both: the compressed one is whole, then. Raises OSError."""
    target = packed_path(path)
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    blocks, place = [], 0
    try:
        with temporary.open("wb") as out:
            for block, data in _lines(path, 0):
                member = gzip.compress(data, LEVEL, mtime=0)
                out.write(member)
                block.packed = (place, place + len(member))
                place += len(member)
                blocks.append(block)
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(target.parent)
    save(index_of(target), target, blocks)
    path.unlink(missing_ok=True)
    index_of(path).unlink(missing_ok=True)
    return target


def _stat(path: Path) -> tuple[Path, os.stat_result]:
    for each in (path, packed_path(path)):
        with suppress(FileNotFoundError):
            return each, each.stat()
    raise Gone(str(path))


def _last(path: Path, size: int) -> float:
    """When the last record was made, by the clock of the records: that of the file system may have been set anew. Infinite
    when that cannot be told without reading it all."""
    with path.open("rb") as handle:
        handle.seek(max(0, size - TAIL))
        *_, last, _rest = [b"", b"", *handle.read(TAIL).split(b"\n")]
    head = read_head(last)
    return head.at if head is not None else float("inf")


def _blocks(path: Path, start: int) -> Iterator[Block]:
    for block, _ in _lines(path, start):
        yield block


def _lines(path: Path, start: int) -> Iterator[tuple[Block, bytes]]:
    """Blocks of whole lines from `start` on, with their bytes."""
    with path.open("rb") as handle:
        handle.seek(start)
        rest = b""
        while data := handle.read(BLOCK):
            whole = data.rfind(b"\n") + 1
            if not whole:
                rest += data
                continue
            lines, rest = rest + data[:whole], data[whole:]
            block = summary(start, lines)
            start = block.end
            yield block, lines


def _members(path: Path) -> Iterator[Block]:
    """The blocks of a compressed segment, from the file alone; up to where it can be read."""
    place = start = 0
    with path.open("rb") as handle:
        waiting = b""
        while True:
            inflate, size, data = zlib.decompressobj(wbits=31), 0, bytearray()
            while not inflate.eof:
                waiting = waiting or handle.read(BLOCK)
                if not waiting:
                    return
                size += len(waiting)
                try:
                    data += inflate.decompress(waiting)
                except zlib.error:
                    return
                waiting = inflate.unused_data
                size -= len(waiting)
            block = summary(start, bytes(data))
            block.packed = (place, place + size)
            place, start = place + size, block.end
            yield block


def _member(path: Path, block: Block) -> bytes:
    first, last = block.packed or (0, 0)
    with path.open("rb") as handle:
        handle.seek(first)
        return gzip.decompress(handle.read(last - first))
