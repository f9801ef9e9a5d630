"""Daemons of a cluster, found by a mark in their environment, and ended by process id without ever hitting another process.

The kernel keeps a process's first environment in /proc/PID/environ, children inherit it (containerd's shims do), and it cannot
be lost in a crash of ours, as a file with process ids can. A process id may be used again at any time, so a process is
pinned with pidfd_open first, then its identity is checked (mark and start time), and the signal goes to the pinned process.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.one_node.layout import Cluster

MARK = "TIDEGATE_ONE_NODE"
PART = "TIDEGATE_ONE_NODE_PART"
# Every daemon is a Go program. Memory is given for time: these are small, and up to a fifth of the API server's work was
# collecting garbage.
COLLECTOR = {"GOGC": "400", "GOMEMLIMIT": "1GiB"}


@dataclass(frozen=True)
class Process:
    """`started` is the kernel's start time in clock ticks since boot: with the id it identifies a process."""

    pid: int
    started: int
    part: str
    command: str


def _started(pid: int) -> int:
    # Field 22; the command's name in parentheses may hold spaces and parentheses itself.
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def identify(pid: int, part: str = "") -> Process | None:
    """The process of that id, or None when there is none or it only waits to be reaped."""
    try:
        if _state(pid) == "Z":
            return None
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].decode(errors="replace")
        return Process(pid, _started(pid), part, command)
    except (OSError, ValueError, IndexError):
        return None


def marked(cluster: Cluster) -> list[Process]:
    """Every running process that carries this cluster's mark: daemons and containerd's shims."""
    wanted = f"{MARK}={cluster.folder}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            environment = (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue  # ended meanwhile
        if wanted in environment:
            part = next((item[len(PART) + 1 :].decode() for item in environment if item.startswith(PART.encode() + b"=")), "")
            process = identify(int(entry.name), part)
            if process is not None:
                found.append(process)
    return found


def daemons(cluster: Cluster) -> dict[str, Process]:
    """The daemon of each part: the process whose parent does not carry the mark of the same part."""
    by_part: dict[str, Process] = {}
    for process in sorted(marked(cluster), key=lambda p: p.started):
        if process.part and not process.command.endswith("containerd-shim-runc-v2"):
            by_part.setdefault(process.part, process)
    return by_part


def start(cluster: Cluster, part: str, command: Sequence[str]) -> int:
    """Start a daemon inside the cluster's namespace, apart from our session; returns its process id."""
    environment = COLLECTOR | dict(os.environ) | {MARK: str(cluster.folder), PART: part}
    environment.pop("KUBECONFIG", None)
    cluster.logs.mkdir(parents=True, exist_ok=True)
    with (cluster.logs / f"{part}.log").open("ab") as log:
        child = subprocess.Popen(
            cluster.inside(*command),
            cwd=cluster.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    return child.pid


def signal_exactly(process: Process, number: signal.Signals) -> None:
    """Send a signal to this very process; nothing happens when it has ended, whoever has its id by now."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except OSError:
        return
    try:
        now = identify(process.pid)
        if now is not None and now.started == process.started:
            signal.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        return
    finally:
        os.close(descriptor)


def end_all(find: Callable[[], Iterable[Process]], *, grace_s: float = 3.0, limit_s: float = 30.0) -> int:
    """End whatever `find` finds: asked first, killed after `grace_s`, looked for again until nothing is left.

    Returns how many processes there were; raises TimeoutError when some are left after `limit_s`.
    """
    begun = time.monotonic()
    seen: set[tuple[int, int]] = set()
    while True:
        found = list(find())
        if not found:
            return len(seen)
        late = time.monotonic() - begun > grace_s
        for process in found:
            fresh = (process.pid, process.started) not in seen
            if late or fresh:
                signal_exactly(process, signal.SIGKILL if late else signal.SIGTERM)
            seen.add((process.pid, process.started))
        if time.monotonic() - begun > limit_s:
            raise TimeoutError(", ".join(f"{p.command} ({p.pid})" for p in found))
        _reap_children()
        time.sleep(0.1)


def _reap_children() -> None:
    """Daemons that this very process started are its children: collect those that ended."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return
