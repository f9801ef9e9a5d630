"""Small files that are replaced whole and survive a crash: written aside, fsynced, renamed, the folder fsynced.

A reader sees the old content or the new one, never a part. `locked` serializes writers of different processes; the lock
goes with the process that holds it, so a killed writer blocks nobody. What a disk refuses is `Unavailable`, and a file that
is not what it should be is an `IntegrityError`: each says in one sentence which file, what was observed, and what to do.
"""

from __future__ import annotations

import fcntl
import json
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from tidegate.domain.errors import Conflict, IntegrityError, Unavailable

T = TypeVar("T")
LIMIT = 64 * 1024 * 1024  # bytes; what is larger is no small file


def replace_durably(path: Path, content: bytes) -> None:
    """Replace `path` by `content`; raises Unavailable, the old content kept, when the disk refuses."""
    temporary = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(descriptor, "wb") as handle:
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        raise Unavailable(
            f"writing {path}: {error.strerror or error}; the old content is kept, make room or fix permissions and retry"
        ) from error


def replace_if_other(path: Path, content: bytes) -> None:
    """As `replace_durably`, and what is there already needs no room on the disk."""
    try:
        same = _read(path, "", "") == content
    except (IntegrityError, Unavailable):
        same = False
    if not same:
        replace_durably(path, content)


def remove(path: Path) -> None:
    """Remove `path` if it is there; raises Unavailable when the disk refuses."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise Unavailable(f"removing {path}: {error.strerror or error}; remove it by hand") from error


def read_json(path: Path, what: str, read: Callable[[Any], T], todo: str) -> T | None:
    """What `read` makes of the JSON in `path`; None when there is no such file.

    `what` and `todo` begin and end the sentence of an error. Raises IntegrityError for a file that is empty, cut short, no
    JSON, of another shape than `read` takes (KeyError, TypeError ...), or no file; Unavailable for one that cannot be read.
    """
    content = _read(path, what, todo)
    if content is None:
        return None
    if not content.strip():
        raise IntegrityError(f"{what}: {path} is empty; {todo}")
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise IntegrityError(f"{what}: {path} is damaged, it is no JSON ({error}); {todo}") from error
    try:
        return read(value)
    except (KeyError, ValueError, TypeError, AttributeError, IndexError) as error:
        raise IntegrityError(f"{what}: {path} is damaged, {_misfit(value, error)}; {todo}") from error


def _read(path: Path, what: str, todo: str) -> bytes | None:
    try:
        # not blocking, or a pipe in the file's place would be waited for
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as handle:
            found = os.fstat(handle.fileno())
            if not stat.S_ISREG(found.st_mode) or found.st_size > LIMIT:
                raise IntegrityError(f"{what}: {path} is {_kind(found)}, required is a small file; {todo}")
            return handle.read()
    except FileNotFoundError:
        return None
    except IsADirectoryError as error:
        raise IntegrityError(f"{what}: {path} is a folder, required is a file; {todo}") from error
    except OSError as error:
        raise Unavailable(f"{what}: {path} cannot be read ({error.strerror or error}); fix that, or {todo}") from error


def _kind(found: os.stat_result) -> str:
    if stat.S_ISDIR(found.st_mode):
        return "a folder"
    return f"of {found.st_size} bytes" if stat.S_ISREG(found.st_mode) else "no file"


def _misfit(value: Any, error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"it lacks or does not know {error}"
    if not isinstance(value, dict) and not isinstance(error, ValueError):
        return f"it holds a {type(value).__name__}"
    return str(error)


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked(path: Path, wait: bool = True) -> Iterator[None]:
    """Hold an exclusive lock on the file `path` (made if it is not there), waiting for whoever holds it, or raising Conflict;
    raises Unavailable."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Unavailable(f"locking {path}: {error.strerror or error}; make room or fix permissions and retry") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Conflict(f"locking {path}: another process holds it; wait for its end") from error
        yield
    finally:
        os.close(handle)
