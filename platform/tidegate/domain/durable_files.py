"""Files that are replaced whole and survive a crash: written aside, fsynced, renamed, the folder fsynced.

A reader sees the old content or the new one, never a part. `locked` serializes writers of different processes; the lock
goes with the process that holds it, so a killed writer blocks nobody.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tidegate.domain.errors import Unavailable


def replace_durably(path: Path, content: bytes) -> None:
    """Replace `path` by `content`; raises Unavailable, the old content kept, when the disk refuses."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = ""
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(descriptor, "wb") as handle:
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        raise Unavailable(
            f"writing {path}: {error}; the old content is kept, make room or fix permissions and retry"
        ) from error


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on the file `path` (made if it is not there), waiting for whoever holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
