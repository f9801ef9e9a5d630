"""What the cache lacks is made once, by whoever asks first; it is there as a whole or not at all, and goes when it is not asked
for any more."""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from infra.images.errors import Conflict
from infra.images.mounts import remove, unmount_below

KINDS = ("images", "layers", "tools", "trained")  # folders of the cache that hold what was made once
STORAGE = Path("images", ".storage")  # below the cache: buildah's layers, which it reads again from the archives of images


def cache_folder() -> Path:
    """Where programs, images and clusters lie: TIDEGATE_CACHE, or `tidegate` in the user's cache folder."""
    given = os.environ.get("TIDEGATE_CACHE")
    if given:
        return Path(given).resolve()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").resolve() / "tidegate"


def made_once(folder: Path, make: Callable[[Path], None]) -> Path:
    """`folder`, which `make` has filled: under another name beside it, while a lock is held that ends with the process. When it
    was last asked for is its time of change."""
    if _found(folder):
        return folder
    with locked(folder):
        if not _found(folder):
            unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
            try:
                make(unfinished)
                unfinished.chmod(0o755)
                unfinished.rename(folder)
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)
    return folder


@dataclass(frozen=True)
class Unused:
    """Something of the cache: its size in bytes, and for how many seconds nobody has asked for it."""

    path: Path
    size: int
    seconds: float


def unused(cache: Path, seconds: float, most: float = math.inf) -> Iterator[Unused]:
    """What nobody has asked for in that time, and, the oldest first, what is there beyond `most` bytes in all; what a killed
    process left unfinished; and buildah's layers, as soon as one of the images goes."""
    now = time.time()
    folders = [path for kind in KINDS for path in (cache / kind).glob("*") if path.is_dir() and path != cache / STORAGE]
    there = sorted((Unused(path, _size(path), now - path.stat().st_mtime) for path in folders), key=lambda each: -each.seconds)
    total, images = sum(each.size for each in there), False
    for each in there:
        if each.seconds > seconds or total > most:
            total -= each.size
            images = images or each.path.parent == cache / STORAGE.parent
            yield each
    if images and (storage := cache / STORAGE).is_dir():
        yield Unused(storage, _size(storage), now - storage.stat().st_mtime)


def prune(found: Unused) -> None:
    """Remove it. Raises Conflict when it is being made or used."""
    unfinished = re.fullmatch(r"\.(.+)-[^-]+", found.path.name)
    with locked(found.path.with_name(unfinished[1]) if unfinished else found.path, fcntl.LOCK_EX | fcntl.LOCK_NB):
        unmount_below(found.path)  # a killed buildah leaves its layers mounted
        remove(found.path)


def lock_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.lock")


@contextlib.contextmanager
def locked(folder: Path, how: int = fcntl.LOCK_EX) -> Iterator[None]:
    """Hold the folder's lock, one of fcntl's; it ends with the process. Raises Conflict when it is taken and LOCK_NB given."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with lock_of(folder).open("w") as lock:
        try:
            fcntl.flock(lock, how)
        except BlockingIOError:
            raise Conflict(f"{folder} is being made or used; wait until that is done") from None
        yield


def _found(folder: Path) -> bool:
    with contextlib.suppress(FileNotFoundError, PermissionError):  # a cache may be somebody else's
        os.utime(folder)
    return folder.is_dir()


def _size(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_symlink() and path.is_file())
