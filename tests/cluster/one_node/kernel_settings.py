"""Settings of the whole machine that the kubelet insists on: kept before the first cluster, put back after the last.

The kubelet sets them when it starts and has no way not to. They are no part of a namespace, so they outlive it.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

SETTINGS = (
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)
_PROC = Path("/proc/sys")


def _note(root: Path) -> Path:
    return root / "kernel-settings.json"


def keep(root: Path) -> None:
    """Note the values below `root` unless an earlier cluster did."""
    if _note(root).exists():
        return
    values = {name: (_PROC / name).read_text().strip() for name in SETTINGS if (_PROC / name).exists()}
    unfinished = _note(root).with_suffix(".new")
    unfinished.write_text(json.dumps(values, indent=1) + "\n")
    unfinished.rename(_note(root))


def put_back(root: Path) -> None:
    """Put the noted values back; for when no cluster is left."""
    if not _note(root).exists():
        return
    for name, value in json.loads(_note(root).read_text()).items():
        if name in SETTINGS and (_PROC / name).read_text().strip() != value:
            with contextlib.suppress(OSError):  # read-only in some containers, and then the kubelet could not change it either
                (_PROC / name).write_text(value + "\n")
    _note(root).unlink()
