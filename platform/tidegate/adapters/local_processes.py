"""Detached processes with pid files, and readiness probes, on one machine.

Every process leads a session of its own, so it survives whoever started it. Its record (pid, start time, labels) is a
file below `folder`; it is also in the process's environment, from which `LocalProcesses` finds on construction those
whose starter was killed before it wrote the file. A pid counts as ours only if the start time agrees, so a pid that the
system gave to a stranger is never signalled.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from tidegate.domain.durable_files import replace_durably
from tidegate.domain.errors import Unavailable
from tidegate.domain.local import LOOPBACK
from tidegate.ports.local import ProcessRecord

MARK = "TIDEGATE_PROCESS"  # environment variable: folder of pid files, name and labels as JSON
START_TOLERANCE = 1.0  # seconds; the start time is derived from the boot time, which clock corrections move a little


class LocalProcesses:
    """The Processes port; `environment` is added to that of every process started."""

    def __init__(self, folder: Path, environment: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.environment = dict(environment or {})
        self._children: dict[int, subprocess.Popen[bytes]] = {}
        with suppress(OSError):  # on a disk that takes nothing, what runs is still found by its environment
            folder.mkdir(parents=True, exist_ok=True)
        self._records = {record.name: record for record in self._read()}
        self._adopt_unrecorded()

    def records(self) -> list[ProcessRecord]:
        return list(self._records.values())

    def start(self, name: str, command: Sequence[str], labels: Mapping[str, Any], log: Path) -> ProcessRecord:
        """Start `command` detached, its output appended to `log`; raises Unavailable when it cannot be started."""
        log.parent.mkdir(parents=True, exist_ok=True)
        mark = json.dumps({"folder": str(self.folder.resolve()), "name": name, "labels": dict(labels)})
        try:
            with log.open("ab") as output:
                child = subprocess.Popen(
                    list(command),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                    env={**os.environ, **self.environment, MARK: mark},
                )
        except OSError as error:
            raise Unavailable(f"starting {name} ({command[0]}): {error}") from error
        self._children[child.pid] = child
        return self._keep(ProcessRecord(name, child.pid, _started(child.pid) or time.time(), dict(labels)))

    def alive(self, record: ProcessRecord) -> bool:
        child = self._children.get(record.pid)
        if child is not None and child.poll() is not None:
            del self._children[record.pid]
            return False
        started = _started(record.pid)
        return started is not None and abs(started - record.started) <= START_TOLERANCE

    def terminate(self, record: ProcessRecord, force: bool = False) -> None:
        try:
            if not force and self.alive(record):
                os.kill(record.pid, signal.SIGTERM)
            elif force and (self.alive(record) or not psutil.pid_exists(record.pid)):
                # a leader that died may leave workers in its group, which the system does not reuse while they live
                os.killpg(record.pid, signal.SIGKILL)
        except ProcessLookupError:
            return

    def forget(self, record: ProcessRecord) -> None:
        self._records.pop(record.name, None)
        (self.folder / f"{record.name}.json").unlink(missing_ok=True)

    def port_free(self, port: int) -> bool:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                return False
            return True

    def _keep(self, record: ProcessRecord) -> ProcessRecord:
        value = {"name": record.name, "pid": record.pid, "started": record.started, "labels": dict(record.labels)}
        replace_durably(self.folder / f"{record.name}.json", json.dumps(value).encode())
        self._records[record.name] = record
        return record

    def _read(self) -> list[ProcessRecord]:
        return read_records(self.folder)

    def _adopt_unrecorded(self) -> None:
        for process in psutil.process_iter():
            try:
                mark = json.loads(process.environ().get(MARK, "null"))
                # children inherit the variable: only the leader of the session is the process itself
                if not mark or mark["folder"] != str(self.folder.resolve()) or os.getsid(process.pid) != process.pid:
                    continue
                known = self._records.get(mark["name"])
                if known is None or not self.alive(known):
                    self._keep(ProcessRecord(mark["name"], process.pid, process.create_time(), mark["labels"]))
            except (psutil.Error, OSError, ValueError, KeyError, TypeError):
                continue


def read_records(folder: Path) -> list[ProcessRecord]:
    """The records in `folder`; a damaged file is skipped (its process is found again by its environment)."""
    records = []
    for path in sorted(folder.glob("*.json")):
        try:
            value = json.loads(path.read_bytes())
            records.append(ProcessRecord(value["name"], value["pid"], value["started"], value["labels"]))
        except (OSError, ValueError, KeyError):
            continue
    return records


def _started(pid: int) -> float | None:
    """Start time of a process that runs, None for one that does not (a zombie is dead)."""
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.Error:
        return None


class ReadinessProbe:
    """The Probe port: asks `GET /readyz` of each replica in the background, often until it is ready, then seldom.

    A replica that was ready stays so until `failures` answers in a row were missing or other than 200.
    """

    def __init__(self, waiting: float = 0.1, settled: float = 0.5, timeout: float = 1.0, failures: int = 3) -> None:
        self.waiting, self.settled, self.timeout, self.failures = waiting, settled, timeout, failures
        self._pool = ThreadPoolExecutor(max_workers=8, thread_name_prefix="readyz")
        self._lock = threading.Lock()
        self._ready: dict[str, bool] = {}
        self._missed: dict[str, int] = {}
        self._next: dict[str, float] = {}
        self._asking: set[str] = set()

    def ready(self, name: str, port: int) -> bool:
        with self._lock:
            if name not in self._asking and time.monotonic() >= self._next.get(name, 0.0):
                self._asking.add(name)
                self._pool.submit(self._ask, name, port)
            return self._ready.get(name, False)

    def forget(self, name: str) -> None:
        with self._lock:
            for known in (self._ready, self._missed, self._next):
                known.pop(name, None)

    def _ask(self, name: str, port: int) -> None:
        ok = False
        try:
            with urllib.request.urlopen(f"http://{LOOPBACK}:{port}/readyz", timeout=self.timeout) as answer:
                ok = answer.status == 200
        except (OSError, urllib.error.URLError, ValueError):
            ok = False
        with self._lock:
            self._missed[name] = 0 if ok else self._missed.get(name, 0) + 1
            self._ready[name] = ok or (self._ready.get(name, False) and self._missed[name] < self.failures)
            self._next[name] = time.monotonic() + (self.settled if self._ready[name] else self.waiting)
            self._asking.discard(name)
