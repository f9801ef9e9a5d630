"""Content addressing of files and folders: SHA-256 of bytes as they lie on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tidegate.domain.digests import digest_of

IGNORED_NAMES = frozenset({"__pycache__", ".DS_Store"})


def file_digest(path: Path) -> str:
    """SHA-256 (64 hex digits) of a file's bytes."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def folder_files(folder: Path) -> dict[str, str]:
    """Digest of each file below `folder`, by POSIX path relative to it; caches and hidden byte code are left out."""
    return {
        path.relative_to(folder).as_posix(): file_digest(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not IGNORED_NAMES.intersection(path.relative_to(folder).parts)
    }


def files_digest(paths: Iterable[Path]) -> str:
    """One digest of several files or folders: names and contents, independent of where they lie."""
    entries: dict[str, Any] = {}
    for path in sorted(paths):
        entries[path.name] = folder_files(path) if path.is_dir() else file_digest(path)
    return digest_of(entries)
