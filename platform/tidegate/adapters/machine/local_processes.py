"""Detached processes with pid files on one machine.

Every process leads a session of its own, so it survives whoever started it. What it is, is in its environment and in a file
below `folder`. The file may be missing, because its starter was killed or the disk is full: `LocalProcesses` finds all on
construction by their environment, which also tells those that nobody knows of. It counts only in processes of our own user
or the folder's owner: anybody can give a process such an environment. A pid that the system gave to a stranger is never
signalled.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from tidegate.adapters.machine.process_identity import owned, runs, start_ticks
from tidegate.domain.clocks import boot_id
from tidegate.domain.errors import Unavailable
from tidegate.domain.local import LOOPBACK
from tidegate.files.durable_files import replace_durably
from tidegate.ports.local import ProcessRecord

# `python -m` would put the folder in which a command happened to be called first on the path: a numpy.py there would run
SAFE_PATH = {"PYTHONSAFEPATH": "1"}
MARK = "TIDEGATE_PROCESS"  # environment variable: folder of pid files, name and labels as JSON


class LocalProcesses:
    """The Processes port; `environment` is added to that of every process started."""

    def __init__(self, folder: Path, environment: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.environment = dict(environment or {})
        self._children: dict[int, subprocess.Popen[bytes]] = {}
        self._codes: dict[int, int] = {}
        self._unwritten: set[str] = set()
        self._try_again = 0.0
        with suppress(OSError):  # on a disk that takes nothing, what runs is still found by its environment
            folder.mkdir(parents=True, exist_ok=True)
        self._records = {record.name: record for record in read_records(self.folder)}
        self._adopt_unrecorded()

    def records(self) -> list[ProcessRecord]:
        if self._unwritten and time.monotonic() >= self._try_again:
            for name in list(self._unwritten):
                self._write(self._records[name])
        return list(self._records.values())

    def start(
        self, name: str, command: Sequence[str], labels: Mapping[str, Any], log: Path, folder: Path | None = None
    ) -> ProcessRecord:
        """Start `command` detached, its output appended to `log`; raises Unavailable when it cannot be started."""
        mark = json.dumps({"folder": str(self.folder.resolve()), "name": name, "labels": dict(labels)})
        try:
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("ab") as output:
                child = subprocess.Popen(
                    list(command),
                    cwd=folder,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                    env={**os.environ, **SAFE_PATH, **self.environment, MARK: mark},
                )
        except OSError as error:
            raise Unavailable(f"starting {name} ({command[0]}): {error}") from error
        self._children[child.pid] = child
        self._codes.pop(child.pid, None)
        return self._keep(ProcessRecord(name, child.pid, time.time(), dict(labels), start_ticks(child.pid), boot_id()))

    def alive(self, record: ProcessRecord) -> bool:
        child = self._children.get(record.pid)
        if child is not None and child.poll() is not None:
            self._codes[record.pid] = self._children.pop(record.pid).returncode
            return False
        return runs(record.pid, record.ticks, record.boot, record.started)

    def exit_code(self, record: ProcessRecord) -> int | None:
        return None if self.alive(record) else self._codes.get(record.pid)

    def terminate(self, record: ProcessRecord, force: bool = False) -> None:
        with suppress(ProcessLookupError, PermissionError):
            if not force and self.alive(record):
                os.kill(record.pid, signal.SIGTERM)
            elif force and (self.alive(record) or not psutil.pid_exists(record.pid)):
                # a leader that died may leave workers in its group, which the system does not reuse while they live
                os.killpg(record.pid, signal.SIGKILL)

    def forget(self, record: ProcessRecord) -> None:
        self._records.pop(record.name, None)
        self._unwritten.discard(record.name)
        self._codes.pop(record.pid, None)
        with suppress(OSError):  # on a disk that is read-only, the file of a dead process harms nobody
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
        self._records[record.name] = record
        self._write(record)
        return record

    def _write(self, record: ProcessRecord) -> None:
        """A disk that is full must not keep a process from being started, nor make us forget it: tried again later."""
        value = {"name": record.name, "pid": record.pid, "started": record.started, "labels": dict(record.labels)}
        value |= {"ticks": record.ticks, "boot": record.boot}
        try:
            replace_durably(self.folder / f"{record.name}.json", json.dumps(value).encode())
            self._unwritten.discard(record.name)
        except (Unavailable, OSError):
            self._unwritten.add(record.name)
            self._try_again = time.monotonic() + 1.0

    def _adopt_unrecorded(self) -> None:
        known = {record.pid for record in self._records.values() if self.alive(record)}
        for process in psutil.process_iter():
            try:
                mark = json.loads(process.environ().get(MARK, "null"))
                # children inherit the variable: only the leader of the session is the process itself
                if not mark or mark["folder"] != str(self.folder.resolve()) or os.getsid(process.pid) != process.pid:
                    continue
                if process.pid in known or process.pid == os.getpid() or not owned(process.pid, self.folder):
                    continue
                self._adopt(process.pid, str(mark["name"]), dict(mark["labels"]))
            except (psutil.Error, OSError, ValueError, KeyError, TypeError):
                continue

    def _adopt(self, pid: int, name: str, labels: Mapping[str, Any]) -> None:
        """One that has the name of another that runs is a stray."""
        ticks = start_ticks(pid)
        other = self._records.get(name)
        if other is not None and self.alive(other):
            name, labels = f"stray-{pid}", {"kind": "stray"}
        if ticks is not None and "/" not in name:
            self._keep(ProcessRecord(name, pid, time.time(), labels, ticks, boot_id()))


def read_records(folder: Path) -> list[ProcessRecord]:
    """The records in `folder`; a damaged file is skipped (its process is found again by its environment)."""
    records = []
    for path in sorted(folder.glob("*.json")):
        try:
            value = json.loads(path.read_bytes())
            more = (value.get("ticks"), value.get("boot", ""))
            records.append(ProcessRecord(value["name"], value["pid"], value["started"], value["labels"], *more))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
    return records
