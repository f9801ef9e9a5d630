"""The control group of a cluster: the kubelet's root, so that kubelets side by side do not clean up each other's pods.

Works with one unified hierarchy and with the older one of a folder a controller (and both together).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from infra.images.errors import Unavailable
from tests.cluster.one_node.layout import Cluster
from tests.cluster.one_node.processes import Process, identify

ROOT = Path("/sys/fs/cgroup")
# All pods together count as ten programs of the machine do, a compiler say or one of the cluster's daemons: as one, they would
# starve beside a few of these, whatever they request.
SHARE = {"cpu.weight": 1000, "cpu.shares": 10240}


def _hierarchies() -> list[Path]:
    if (ROOT / "cgroup.controllers").exists():
        return [ROOT]
    return sorted({path.resolve() for path in ROOT.iterdir() if path.is_dir()}) if ROOT.is_dir() else []


def create(cluster: Cluster) -> None:
    hierarchies = _hierarchies()
    if not hierarchies:
        raise Unavailable(f"no control groups below {ROOT}, and the kubelet needs them; mount them, then run this again")
    for hierarchy in hierarchies:
        group = hierarchy / cluster.unique
        group.mkdir(exist_ok=True)
        for name in ("cpuset.cpus", "cpuset.mems"):  # the older hierarchy starts them empty, and then nothing may enter
            parent = hierarchy / name
            if parent.exists() and not (group / name).read_text().strip():
                (group / name).write_text(parent.read_text())
    if hierarchies == [ROOT]:
        controllers = (ROOT / "cgroup.controllers").read_text().split()
        for folder in (ROOT, ROOT / cluster.unique):
            for controller in controllers:
                with contextlib.suppress(OSError):  # not every controller can be delegated
                    (folder / "cgroup.subtree_control").write_text(f"+{controller}")
    for hierarchy in hierarchies:
        for name, share in SHARE.items():
            if (hierarchy / cluster.unique / name).exists():
                (hierarchy / cluster.unique / name).write_text(str(share))


def exists(cluster: Cluster) -> bool:
    hierarchies = _hierarchies()
    return bool(hierarchies) and all((hierarchy / cluster.unique).is_dir() for hierarchy in hierarchies)


def _groups(cluster: Cluster) -> Iterator[Path]:
    """All groups of the cluster, the deepest first."""
    for hierarchy in _hierarchies():
        for folder, _, _ in os.walk(hierarchy / cluster.unique, topdown=False):
            yield Path(folder)


def processes(cluster: Cluster) -> list[Process]:
    """Every process in a container of the cluster."""
    ids: set[int] = set()
    for group in _groups(cluster):
        with contextlib.suppress(OSError):
            ids.update(int(line) for line in (group / "cgroup.procs").read_text().split())
    return [process for process in (identify(pid, "container") for pid in sorted(ids)) if process is not None]


def remove(cluster: Cluster) -> list[Path]:
    """Remove all groups; returns those that are left because something still runs in them."""
    for group in _groups(cluster):
        with contextlib.suppress(OSError):
            group.rmdir()
    return list(_groups(cluster))
