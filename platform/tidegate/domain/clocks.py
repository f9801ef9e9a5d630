"""Time that processes of one machine can compare, whatever is done to the wall clock.

Durations are measured on the boot-time clock, which counts from the start of the machine, sleeps included, and is the same for
every process. Its readings mean nothing after a restart of the machine: a `Reading` carries the boot's id, and the wall time
for people and for that case. A `SteadyClock` tells seconds since the epoch as the wall clock had them at one moment, and goes
on at the boot-time clock's pace: what rollouts, gates and records of requests compare. Its processes share one such moment,
which the state folder keeps (`tidegate.rollout.state_clock`) and slots are given by their environment.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any


def boot_time() -> float:
    """Seconds since the machine started."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@lru_cache(maxsize=1)
def boot_id() -> str:
    """Names the machine's present run; empty where the system tells none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


@dataclass(frozen=True)
class Reading:
    """One moment on both clocks."""

    wall: float
    boot_seconds: float | None = None
    boot: str = ""

    @classmethod
    def now(cls) -> Reading:
        return cls(time.time(), boot_time(), boot_id())

    def seconds_until(self, later: Reading) -> float:
        """By the boot-time clock within one run of the machine, else by the wall clock, never below zero."""
        if self.boot_seconds is not None and later.boot_seconds is not None and self.boot and self.boot == later.boot:
            return max(0.0, later.boot_seconds - self.boot_seconds)
        return max(0.0, later.wall - self.wall)

    def to_json(self) -> dict[str, Any]:
        return {"at": self.wall, "boot_seconds": self.boot_seconds, "boot": self.boot}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Reading:
        """Of an object that has `at`, and in newer files the two others."""
        boot_seconds = value.get("boot_seconds")
        return cls(float(value["at"]), None if boot_seconds is None else float(boot_seconds), str(value.get("boot", "")))


Clock = Callable[[], float]
ENVIRONMENT = "TIDEGATE_CLOCK"  # the boot's id and the offset of a SteadyClock


@dataclass(frozen=True)
class SteadyClock:
    """Seconds since the epoch; `offset` is what it has before the boot-time clock."""

    offset: float
    boot: str

    @classmethod
    def now(cls) -> SteadyClock:
        """One that agrees with the wall clock at this moment."""
        return cls(time.time() - boot_time(), boot_id())

    @classmethod
    def from_text(cls, text: str) -> SteadyClock | None:
        """As `to_text` gave it; None for one of another run of the machine, or what is no clock."""
        boot, _, offset = text.partition(" ")
        try:
            clock = cls(float(offset), boot)
        except ValueError:
            return None
        return clock if clock.boot == boot_id() and math.isfinite(clock.offset) else None

    def to_text(self) -> str:
        return f"{self.boot} {self.offset!r}"

    def __call__(self) -> float:
        return self.offset + boot_time()


def process_clock() -> Clock:
    """The clock that whoever started this process gave it, else the wall clock."""
    return SteadyClock.from_text(os.environ.get(ENVIRONMENT, "")) or time.time
