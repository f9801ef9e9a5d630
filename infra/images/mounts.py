"""File systems that are mounted below a folder, and how the folder goes without them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from infra.images.errors import Unavailable


def mounts_below(folder: Path) -> list[str]:
    """Mount points, what was mounted last first."""
    prefix = str(folder) + "/"
    points = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        point = re.sub(r"\\(\d{3})", lambda m: chr(int(m.group(1), 8)), line.split()[4])
        if point.startswith(prefix):
            points.append(point)
    return points[::-1]


def unmount_below(folder: Path) -> None:
    """Raises Unavailable for what stays mounted."""
    for lazily in ([], ["--lazy"]):
        for point in mounts_below(folder):
            subprocess.run(["umount", *lazily, point], capture_output=True, check=False)
    if left := mounts_below(folder):
        raise Unavailable(f"cannot unmount {left[0]}; end what uses it, then run this again")


def remove(folder: Path) -> None:
    """Only after everything below is unmounted: nothing of another file system may be deleted."""
    if not mounts_below(folder):
        shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        shutil.rmtree(folder)
