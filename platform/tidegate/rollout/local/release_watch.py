"""Whether the releases in slots still lie on disk as they were built.

A replica verifies what it loads and never looks again, so a file that is edited afterwards harms nobody until a replica has to
be started: it will not load it, and says why. That is said here at once. A look costs the sizes and times of the files; where
these have changed, or nobody has looked before, the files are read and their digests compared, beside the supervisor's steps.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from tidegate.domain.errors import TidegateError

EVERY = 2.0  # seconds between looks
SHORT = 12
Stamp = tuple[tuple[str, int, int, int, int], ...]
MEANS = (
    "its replicas that run go on with what they verified and loaded, and none can be started again: put the files back, build "
    "the release again, or go back to another one with 'tidegate rollback'"
)


class ReleaseWatch:
    """`check` raises for the release in a folder that is not what it has to be."""

    def __init__(
        self,
        folder: Callable[[str], Path],
        check: Callable[[Path], object],
        clock: Callable[[], float] = time.monotonic,
        run: Callable[[Callable[[], None]], object] | None = None,
    ) -> None:
        self._folder, self._check, self._clock, self._run = folder, check, clock, run or _beside
        self._found: dict[str, tuple[Stamp, str]] = {}
        self._looked: float | None = None
        self._checking = threading.Lock()

    def look(self, releases: Collection[str]) -> None:
        """Have what changed of `releases` (digests) checked; one after the other."""
        for digest in self._found.keys() - set(releases):
            self._found.pop(digest, None)
        if self._checking.locked() or (self._looked is not None and self._clock() - self._looked < EVERY):
            return
        self._looked = self._clock()
        for digest in sorted(releases):
            stamp = _stamp(self._folder(digest))
            if digest not in self._found or self._found[digest][0] != stamp:
                self._checking.acquire()
                self._run(lambda digest=digest, stamp=stamp: self._checked(digest, stamp))  # type: ignore[misc]
                return

    @property
    def problems(self) -> Mapping[str, str]:
        return {f"release {digest[:SHORT]}": said for digest, (_, said) in list(self._found.items()) if said}

    def _checked(self, digest: str, stamp: Stamp) -> None:
        try:
            self._found[digest] = (stamp, self._said_of(self._folder(digest)))
        finally:
            self._checking.release()

    def _said_of(self, folder: Path) -> str:
        try:
            self._check(folder)
        except (TidegateError, OSError) as error:
            return f"{error}; {MEANS}"
        return ""


def _beside(act: Callable[[], None]) -> None:
    threading.Thread(target=act, name="releases", daemon=True).start()


def _stamp(folder: Path) -> Stamp:
    """What changes when a file below `folder` does: its size, inode, and the times of its content and of its own change."""
    found = []
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = os.path.join(place, name)
            try:
                seen = os.lstat(path)
            except OSError:
                continue
            times = (0, 0) if name in folders else (seen.st_mtime_ns, seen.st_ctime_ns)
            found.append((path, seen.st_ino, 0 if name in folders else seen.st_size, *times))
    return tuple(sorted(found))
