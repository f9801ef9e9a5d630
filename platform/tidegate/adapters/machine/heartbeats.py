"""Signs of life of the processes that look after others: one small file each, written in place.

A beat carries the system's monotonic time and who wrote it, so it survives jumps of the wall clock, and nobody is taken for
another process that got the same pid. Writing in place needs no room on a full disk. Where nothing can be written at all,
`beat` says so, and whoever cannot beat must not take the others' silence for a hang.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tidegate.adapters.machine.process_identity import runs, start_ticks
from tidegate.domain.clocks import boot_id

WIDTH = 128


@dataclass(frozen=True)
class Beat:
    pid: int
    ticks: int
    boot: str
    at: float  # monotonic seconds

    @property
    def runs(self) -> bool:
        """Whether the very process that wrote it still runs."""
        return runs(self.pid, self.ticks, self.boot)

    @property
    def age(self) -> float:
        return time.monotonic() - self.at


class Heartbeats:
    """The beats below `folder`, by name of a part."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._me = f"{os.getpid()} {start_ticks(os.getpid())} {boot_id()}"

    def beat(self, name: str) -> bool:
        content = f"{self._me} {time.monotonic():.3f}".ljust(WIDTH - 1).encode() + b"\n"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.folder / name, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                return os.pwrite(descriptor, content, 0) == WIDTH
            finally:
                os.close(descriptor)
        except OSError:
            return False

    def last(self, name: str) -> Beat | None:
        """None when there was none since the machine started."""
        try:
            pid, ticks, boot, at = (self.folder / name).read_text().split()
            beat = Beat(int(pid), int(ticks), boot, float(at))
        except (OSError, ValueError):
            return None
        return beat if beat.boot == boot_id() else None

    def forget(self, name: str) -> None:
        try:
            (self.folder / name).unlink(missing_ok=True)
        except OSError:
            return


class Beating:
    """Beats from a thread of their own while the owner makes steps: a process that is stopped beats no more at once, one step
    may wait for something slow, and one that takes longer than `stuck_seconds` ends the beats too."""

    def __init__(self, beats: Heartbeats, name: str, stuck_seconds: float, also: Callable[[], None] = lambda: None) -> None:
        self.beats, self.name, self.stuck_seconds, self.also = beats, name, stuck_seconds, also
        self.written = False  # whether the latest beat could be written
        self._last = time.monotonic()
        self._ended = threading.Event()

    def stepped(self) -> None:
        self._last = time.monotonic()

    def _run(self) -> None:
        while not self._ended.is_set():
            if time.monotonic() - self._last < self.stuck_seconds:
                self.written = self.beats.beat(self.name)
                self.also()
            self._ended.wait(0.5)

    def __enter__(self) -> Beating:
        self._thread = threading.Thread(target=self._run, name="beats", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
