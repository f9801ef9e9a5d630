"""Who a pid is: its start in kernel clock ticks since boot, and its owner. Neither depends on the wall clock."""

from __future__ import annotations

import os
from pathlib import Path

import psutil

from tidegate.domain.clocks import boot_id

START_TOLERANCE = 1.0  # seconds, for records without ticks: a wall clock that is corrected moves what is derived from it


def start_ticks(pid: int) -> int | None:
    """When a process that runs was started; None for one that does not (a zombie is dead)."""
    try:
        content = Path(f"/proc/{pid}/stat").read_bytes()
        fields = content[content.rindex(b")") + 2 :].split()  # the name before it may hold anything
        return None if fields[0] in (b"Z", b"X") else int(fields[19])
    except (OSError, ValueError, IndexError):
        return None


def pid_exists(pid: int) -> bool:
    """Whether any process has this pid, a zombie included."""
    return psutil.pid_exists(pid)


def runs(pid: int, ticks: int | None, boot: str, started: float | None = None) -> bool:
    """Whether `pid` is still the process that was started then; `started` is asked where `ticks` are not known."""
    now = start_ticks(pid)
    if now is None:
        return False
    if ticks is not None:
        return now == ticks and boot == boot_id()
    try:
        return started is not None and abs(psutil.Process(pid).create_time() - started) <= START_TOLERANCE
    except psutil.Error:
        return False


def owned(pid: int, folder: Path) -> bool:
    """Whether the process belongs, in all its user ids, to us or to the owner of `folder`."""
    allowed = {os.geteuid(), folder.stat().st_uid}
    try:
        return set(psutil.Process(pid).uids()) <= allowed
    except psutil.Error:
        return False
