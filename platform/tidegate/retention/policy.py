"""What goes, as values, and what the ledger refers to: a name that the ledger writes anywhere is kept."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tidegate.domain.errors import Unavailable

MEGABYTE = 1024 * 1024
NAMES = re.compile(rb"[0-9A-Za-z_-]{6,128}")
DIGEST = 12  # characters of a digest that names it


@dataclass(frozen=True)
class Going:
    """A file or folder that is to go, and why."""

    path: Path
    bytes: int
    why: str


@dataclass(frozen=True)
class Referred:
    """The names that a ledger's lines write."""

    names: frozenset[str]

    @classmethod
    def by(cls, lines: bytes) -> Referred:
        return cls(frozenset(name.decode() for name in NAMES.findall(lines)))

    def to(self, name: str) -> bool:
        """Whether the ledger writes a name, or a digest whole or shortened."""
        return name in self.names or name[:DIGEST] in self.names


def size_of(path: Path) -> int:
    if not path.is_dir():
        return path.lstat().st_size
    return sum(each.lstat().st_size for each in path.rglob("*") if not each.is_dir())


def beyond(folders: Iterable[Path], keep: int, kept: Iterable[str], referred: Referred, what: str) -> list[Going]:
    """All but the latest `keep` of `folders`; never one whose name is among `kept`, or has a part that the ledger writes."""
    found = sorted(
        (f for f in folders if f.is_dir() and not f.name.startswith(".")), key=lambda f: (f.stat().st_mtime_ns, f.name)
    )
    old = found[: max(0, len(found) - keep)]
    names = set(kept)
    why = f"more than the latest {keep} {what}"
    return [
        Going(folder, size_of(folder), why)
        for folder in old
        if folder.name not in names
        and not any(referred.to(part) for part in re.split(r"[-.]", folder.name) if len(part) >= DIGEST)
    ]


def remove_all(going: Sequence[Going]) -> None:
    """Folders are renamed first, so that what is half removed is never taken for whole. Raises Unavailable."""
    for each in going:
        try:
            if each.path.is_dir():
                aside = each.path.with_name(f".removed-{each.path.name}")
                each.path.replace(aside)
                shutil.rmtree(aside)
            else:
                each.path.unlink(missing_ok=True)
        except OSError as error:
            raise Unavailable(
                f"removing {each.path}: {error.strerror or error}; allow it and run 'tidegate prune' again"
            ) from error
