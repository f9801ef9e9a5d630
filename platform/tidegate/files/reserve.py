"""Room that is kept on a disk for what people order when it is full: a file that is given up for it, and made again later.

Limits: what else writes to the disk may take the room in the moment between, and a file system that compresses, or copies what
is written, may not give back what it took.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tidegate.domain.errors import Unavailable

T = TypeVar("T")
NAME = "reserve"  # in the folder of what is ordered
SIZE = 1024 * 1024
SPARE = 4  # so many times its size is to be free before it is made


@dataclass(frozen=True)
class Reserve:
    folder: Path
    size: int = SIZE

    @property
    def path(self) -> Path:
        return self.folder / NAME

    def keep(self) -> None:
        """Make it where it is missing and there is room; never raises."""
        with suppress(OSError):
            if self.path.exists():
                return
            disk = os.statvfs(self.path.parent)
            if disk.f_bavail * disk.f_frsize < SPARE * self.size:
                return
            descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, self.size)
            except OSError:
                self.path.unlink(missing_ok=True)
            finally:
                os.close(descriptor)

    def for_order(self, write: Callable[[], T]) -> T:
        """What `write` gives; where the disk refuses, it is tried once more in the room that was kept. Raises Unavailable."""
        try:
            return write()
        except Unavailable:
            if not self._given_up():
                raise
            return write()

    def _given_up(self) -> bool:
        try:
            self.path.unlink()
        except OSError:
            return False
        return True
