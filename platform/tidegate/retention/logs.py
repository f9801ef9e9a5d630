"""The logs folder: old segments of the inference log go whole, the rest is rotated.

A segment goes when it is older than the policy's days, or the oldest while all are larger than its megabytes. Never one that is
still written, one with a record since `since` (a rollout under way looks at those), nor one with a record that the ledger
names. Closed segments that stay are compressed. Envoy's log is renamed, and Envoy told to open it anew; logs that processes of
ours append to are cut after a copy.
"""

from __future__ import annotations

import math
import os
import re
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from tidegate.domain.errors import Unavailable
from tidegate.files.record_index import SUFFIX
from tidegate.files.record_segments import Segment as Compressed
from tidegate.files.record_segments import index_of, plain_path, read_lines
from tidegate.retention.policy import Going, Referred

SEGMENT = re.compile(r"^(?P<stem>(blue|green)-\d+-(?P<pid>\d+))-(?P<number>\d+)\.jsonl(\.gz)?$")
TAIL = 64 * 1024
DAY = 86400.0
COMPRESSED_AFTER = 3600.0  # seconds


class _Head(msgspec.Struct):
    id: str
    at: float
    client_id: str = ""


@dataclass(frozen=True)
class Segment:
    path: Path
    stem: str
    number: int
    bytes: int
    last: float  # when its last record was made; infinite when that cannot be told


def segments(folder: Path, is_running: Callable[[int], bool]) -> list[Segment]:
    """Those that nobody writes any more, oldest first, compressed ones too."""
    found: dict[Path, tuple[str, int, int]] = {}
    for path in segment_files(folder):
        if match := SEGMENT.match(path.name):
            found[path] = (match["stem"], int(match["number"]), int(match["pid"]))
    newest: dict[str, int] = {}
    for stem, number, _ in found.values():
        newest[stem] = max(newest.get(stem, -1), number)
    closed = [
        Segment(path, stem, number, path.stat().st_size, _last(path))
        for path, (stem, number, pid) in found.items()
        if number < newest[stem] or not is_running(pid)
    ]
    return sorted(closed, key=lambda s: (s.last, s.path.name))


def segment_files(folder: Path) -> list[Path]:
    """Files of segments of the inference log, also of one that is still written; what else has such a name is none."""
    found = (*folder.glob("*.jsonl"), *folder.glob("*.jsonl.gz"))
    return [path for path in found if SEGMENT.match(path.name) and path.is_file()]


def to_compress(closed: Iterable[Segment], going: Iterable[Going], now: float) -> list[Path]:
    """Closed segments that stay and whose last record is not of just now."""
    leaving = {each.path for each in going}
    whole = (each for each in closed if each.path.suffix == ".jsonl" and each.path not in leaving)
    return [each.path for each in whole if now - each.last > COMPRESSED_AFTER]


def _last(path: Path) -> float:
    """When a segment's last whole record was made; that of the file where there is none."""
    if path.suffix == ".gz":
        segment = Compressed(plain_path(path))
        segment.look()
        times = [group.last for block in segment.blocks for group in block.groups]
        return max(times, default=path.stat().st_mtime)
    with path.open("rb") as handle:
        size = tail = handle.seek(0, os.SEEK_END)
        for tail in (TAIL, 256 * TAIL, size):
            handle.seek(max(0, size - tail))
            lines = handle.read().split(b"\n")
            if len(lines) > 2 or tail >= size:
                break
    try:
        return msgspec.json.decode(lines[-2], type=_Head).at
    except (IndexError, msgspec.MsgspecError, UnicodeDecodeError):
        return path.stat().st_mtime


def old_segments(
    closed: list[Segment], all_bytes: int, now: float, since: float, days: int, megabytes: int, referred: Referred
) -> list[Going]:
    """Which of the closed segments go; `all_bytes` are of all segments, those that are still written among them."""
    going, left = [], all_bytes
    for segment in closed:
        aged = now - segment.last > days * DAY
        if not aged and left <= megabytes * 1024 * 1024:
            continue
        if segment.last >= since or segment.last == math.inf or _named(segment.path, referred):
            continue
        left -= segment.bytes
        why = f"its records are older than {days} days" if aged else f"the inference log is larger than {megabytes} MB"
        going.append(Going(segment.path, segment.bytes, why))
    return going


def _named(path: Path, referred: Referred) -> bool:
    """Whether the ledger names a record of the segment."""
    for line in read_lines(path):
        try:
            head = msgspec.json.decode(line, type=_Head)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            continue
        if head.id in referred.names or head.client_id in referred.names:
            return True
    return False


def ended_summaries(folder: Path, gone: Iterable[Path]) -> list[Going]:
    """Summaries of processes all of whose segments go or went, and of segments that do."""
    names = {path.name for path in gone}
    files = [path for path in segment_files(folder) if path.name not in names]
    left = {m["stem"] for path in files if (m := SEGMENT.match(path.name))}
    stems = [(path, path.name.removesuffix(".summary.json")) for path in sorted(folder.glob("*.summary.json"))]
    stems += [(path, path.name) for path in folder.glob(f"*{SUFFIX}") if SEGMENT.match(path.stem)]
    left |= {index_of(path).name for path in files}
    return [
        Going(path, path.stat().st_size, "its segments are gone") for path, stem in stems if stem not in left and path.is_file()
    ]


def rotated(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")


def rotate(path: Path, files: int, reopen: Callable[[], None] | None = None) -> None:
    """`path` becomes `path.1`, that `path.2`, and so on, `files` of them. With `reopen` its writer opens it anew, else it
    appends and what it wrote is copied and cut off: a line that is written between the two is lost. Raises Unavailable."""
    try:
        rotated(path, files).unlink(missing_ok=True)
        for number in range(files - 1, 0, -1):
            if rotated(path, number).exists():
                rotated(path, number).replace(rotated(path, number + 1))
        if reopen is not None:
            path.replace(rotated(path, 1))
            reopen()
        else:
            shutil.copyfile(path, rotated(path, 1))
            os.truncate(path, 0)
    except OSError as error:
        raise Unavailable(f"rotating {path}: {error.strerror or error}; make room or fix permissions") from error


def large(folder: Path, megabytes: int) -> list[Path]:
    """Logs of processes that are larger than that: all but segments of the inference log and what was rotated."""
    found = [*folder.glob("*.log"), *folder.glob("envoy-*.jsonl")]
    return sorted(path for path in found if path.is_file() and path.stat().st_size > megabytes * 1024 * 1024)
