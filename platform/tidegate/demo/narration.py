"""How the story is told on a terminal: chapters, what is being done now, and how each ended.

On a terminal the line under way is redrawn with its running time; elsewhere each message is a line. Colour on terminals only.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO


class Narrator:
    """Prints to `out` (standard error by default, so that standard output stays for results)."""

    def __init__(self, out: IO[str] | None = None) -> None:
        self.out = out or sys.stderr
        self.live = self.out.isatty() and os.environ.get("TERM") != "dumb"
        self.colour = self.live and "NO_COLOR" not in os.environ
        self.started = time.monotonic()
        self.chapters: list[dict[str, object]] = []
        self._lock = threading.Lock()
        self._doing = ""

    def _styled(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.colour else text

    def _clock(self) -> str:
        seconds = int(time.monotonic() - self.started)
        return self._styled(f"{seconds // 60:2d}:{seconds % 60:02d}", "2")

    def _line(self, text: str) -> None:
        with self._lock:
            self.out.write(("\r\x1b[K" if self.live else "") + text + "\n")
            self.out.flush()

    @contextmanager
    def chapter(self, title: str) -> Iterator[list[str]]:
        """One chapter; the list yielded takes the sentences of its outcome."""
        self._line(f"\n{self._clock()}  {self._styled(f'{len(self.chapters) + 1}. {title}', '1')}")
        begun = time.monotonic()
        outcome: list[str] = []
        ended = threading.Event()
        ticker = threading.Thread(target=self._tick, args=(ended, begun), daemon=True)
        if self.live:
            ticker.start()
        try:
            yield outcome
        finally:
            ended.set()
            if self.live:
                ticker.join()
        for sentence in outcome:
            self._line(f"       {self._styled('✓', '32')} {sentence}")
        self.chapters.append({"title": title, "outcome": " ".join(outcome), "seconds": round(time.monotonic() - begun, 1)})

    def doing(self, message: str) -> None:
        """What is being done now."""
        self._doing = message
        if not self.live:
            self._line(f"       {message}")

    def say(self, message: str) -> None:
        self._line(message)

    def _tick(self, ended: threading.Event, begun: float) -> None:
        frames = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
        count = 0
        while not ended.wait(0.12):
            count += 1
            with self._lock:
                seconds = time.monotonic() - begun
                self.out.write(f"\r\x1b[K       {frames[count % len(frames)]} {self._doing[:100]}  {seconds:.0f} s")
                self.out.flush()
        with self._lock:
            self.out.write("\r\x1b[K")
            self.out.flush()
