"""Content addressing: canonical JSON and SHA-256 of values, files and folders.

Canonical JSON has sorted keys, no white space, UTF-8 and no NaN, so equal values have equal digests on every machine.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

DIGEST = re.compile(r"[0-9a-f]{64}")
IGNORED_NAMES = frozenset({"__pycache__", ".DS_Store"})


def canonical_json(value: Any) -> bytes:
    """Canonical UTF-8 JSON of `value`; raises ValueError on NaN and infinities."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def digest_of(value: Any) -> str:
    """SHA-256 (64 hex digits) of the canonical JSON of `value`."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def is_digest(text: str) -> bool:
    return bool(DIGEST.fullmatch(text))


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
