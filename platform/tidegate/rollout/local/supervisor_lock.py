"""The lock that says whether a supervisor runs for a state folder, and the note in it of whose that is.

The lock is the system's: it ends with the process, however that ends. What is written in the file is a note for people and for
commands, and may be damaged; who holds the lock is then asked of the system. A lock file that is taken away from under a
running supervisor is made again by it, unless another has taken its place meanwhile.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from tidegate.domain.errors import TidegateError, Unavailable
from tidegate.domain.local import LocalConfig
from tidegate.domain.project import Project
from tidegate.files.durable_files import read_json

LOOKS = 20
READ = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC  # a pipe in the file's place is not waited for


@dataclass(frozen=True)
class Runs:
    """A running supervisor. What it was started with is None where its note cannot be read, or is older than that."""

    pid: int | None
    file: str | None = None
    gateway_port: int | None = None
    slot_ports: int | None = None
    replicas: int | None = None
    version: str | None = None
    default_model: str | None = None

    @classmethod
    def of(cls, project: Project, version: str, pid: int | None = None) -> Runs:
        local = project.local
        ports = (local.gateway_port, local.slot_ports)
        return cls(pid, str(project.file), *ports, local.replicas, version, LocalConfig.of(project).default_model or "none")

    @classmethod
    def from_json(cls, value: Any) -> Runs:
        if isinstance(value, int):  # only the pid
            return cls(value)
        return cls(**{name: value.get(name) for name in cls.__dataclass_fields__})

    def differences(self, other: Runs) -> list[str]:
        """What this one, the running one, was started with, where `other` has something else."""
        said = {"file": "project file", "gateway_port": "gatewayPort", "slot_ports": "slotPorts", "replicas": "replicas"}
        said |= {"default_model": "defaultModel"}
        mine, its = asdict(self), asdict(other)
        return [
            f"{words} {mine[name]} (here: {its[name]})"
            for name, words in said.items()
            if mine[name] is not None and mine[name] != its[name]
        ]

    @property
    def of_another_project(self) -> bool:
        """Whether the project file that it was started with is still there to be named."""
        return self.file is not None and Path(self.file).is_file()


class SupervisorLock:
    """Held from `take` to `release`."""

    def __init__(self, path: Path, handle: IO[str], note: Runs) -> None:
        self._path, self._handle, self._note = path, handle, note

    @classmethod
    def take(cls, path: Path, note: Runs, patience: float = 0.0) -> SupervisorLock | None:
        """None when another holds it for longer than `patience` seconds (whoever only looks does so for an instant); raises
        Unavailable when the file cannot be opened."""
        handle, deadline = _open(path), time.monotonic() + patience
        while not _flock(handle):
            if time.monotonic() >= deadline:
                handle.close()
                return None
            time.sleep(0.02)
        lock = cls(path, handle, note)
        lock._write()
        return lock

    def keep(self) -> bool:
        """Whether it is still ours: one that was taken away is made again; False when another supervisor has it."""
        try:
            there = os.stat(self._path)
        except OSError:
            there = None
        held = os.fstat(self._handle.fileno())
        if there is not None and (there.st_dev, there.st_ino) == (held.st_dev, held.st_ino):
            return True
        try:
            again = SupervisorLock.take(self._path, self._note)
        except Unavailable:
            return True  # nobody can take it
        if again is None:
            return False
        self._handle.close()
        self._handle = again._handle
        return True

    def release(self) -> None:
        self._handle.close()

    def _write(self) -> None:
        try:
            self._handle.truncate(0)
            self._handle.write(json.dumps(asdict(self._note)))
            self._handle.flush()
        except OSError:
            return  # a full or read-only disk: the lock holds without its note


def running(path: Path) -> Runs | None:
    """The supervisor that holds the lock; None when none does. Makes and changes nothing."""
    try:
        handle = os.fdopen(os.open(path, READ), "r")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Unavailable(f"asking whether a supervisor runs: {path} cannot be opened ({error.strerror}); remove it") from error
    with handle:
        for _ in range(LOOKS):  # it may end while we look, and the system's list may miss a line that changes as it is read
            if _flock(handle, fcntl.LOCK_SH):  # several may look at a time, and none is taken for a supervisor
                return None
            if holder := _holder(handle):
                break
            time.sleep(0.005)
    try:
        note = read_json(path, "the supervisor's note", Runs.from_json, "") or Runs(None)
    except TidegateError:
        note = Runs(None)
    return note if holder is None or note.pid == holder else Runs(holder)


def _open(path: Path) -> IO[str]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK | os.O_CLOEXEC, 0o600), "a")
    except OSError as error:
        try:
            return os.fdopen(os.open(path, READ), "r")  # a lock needs no right to write
        except OSError:
            raise Unavailable(f"locking {path}: {error.strerror or error}; make it a file that can be written") from error


def _flock(handle: IO[str], kind: int = fcntl.LOCK_EX) -> bool:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(handle: IO[str]) -> int | None:
    """Pid of the process that holds a lock on the file, as the system lists it; None where it does not."""
    found = os.fstat(handle.fileno())
    name = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    try:
        lines = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    except OSError:
        return None
    holders = [int(line[4]) for line in lines if len(line) > 5 and line[1] == "FLOCK" and line[5] == name]
    return next((pid for pid in holders if pid > 0), None)
