"""The inference log: a record of every request, written behind a bounded queue that never blocks or fails the request.

Accounting is exact: for each status, `requests == logged + sampled_out + dropped` once the log is closed, and while it
runs the difference is what waits in the queue. `dropped` counts what did not fit into the queue and what could not be
written (a full disk, a folder that is gone or read-only); `logged` counts only what the file system took. After a
failed write the file is cut back to its last whole line, one warning says so, and writing resumes by itself.

Records are JSON objects, one a line. By default they go to segments `<slot>-<replica>-<pid>-<n>.jsonl` of a folder, or else to
the `LogSink` that is given; a clean stop leaves `<slot>-<replica>-<pid>.summary.json` in the folder with the counts. Limits:
lines are not fsynced, so a crash of the machine (not of the process) may lose what the kernel had not written yet; a killed
process loses at most what waited in the queue.
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import time
from collections import Counter, deque
from dataclasses import asdict, dataclass, field
from pathlib import Path

import msgspec

from tidegate.ports.log_sink import LogSink
from tidegate.serving.runtime.record_lines import TENSOR_BYTES, Served, record_of
from tidegate.serving.runtime.release_loader import Profile

__all__ = ["Identity", "InferenceLog", "LogCounts", "LogLimits", "Served", "sampled"]

logger = logging.getLogger("tidegate.inference_log")


@dataclass(frozen=True)
class LogLimits:
    """`records` and `bytes` bound the queue (bytes of tensors), `segment_bytes` a file, `tensor_bytes` an input that is kept
    whole, `sample_rate` is in [0, 1]."""

    records: int = 8192
    bytes: int = 64 * 1024 * 1024
    segment_bytes: int = 64 * 1024 * 1024
    tensor_bytes: int = TENSOR_BYTES
    flush_seconds: float = 0.1
    sample_rate: float = 1.0


@dataclass(frozen=True)
class Identity:
    """Who answered; `release` is the release's whole digest."""

    model: str
    release: str
    slot: str
    replica: int


@dataclass
class LogCounts:
    """Requests by status: `requests == logged + sampled_out + dropped + pending`."""

    requests: Counter[int] = field(default_factory=Counter)
    logged: Counter[int] = field(default_factory=Counter)
    sampled_out: Counter[int] = field(default_factory=Counter)
    dropped: Counter[int] = field(default_factory=Counter)

    def copy(self) -> LogCounts:
        return LogCounts(*(Counter(c) for c in (self.requests, self.logged, self.sampled_out, self.dropped)))

    @property
    def pending(self) -> int:
        return self.requests.total() - self.logged.total() - self.sampled_out.total() - self.dropped.total()

    def to_json(self) -> dict[str, dict[str, int]]:
        counters = {n: getattr(self, n) for n in ("requests", "logged", "sampled_out", "dropped")}
        return {name: {str(status): n for status, n in sorted(counter.items())} for name, counter in counters.items()}


def sampled(request_id: str, rate: float) -> bool:
    """Whether a request is logged: a pure function of its id, so that both slots keep the same requests."""
    if rate >= 1.0:
        return True
    point = int.from_bytes(hashlib.blake2b(request_id.encode(), digest_size=8).digest(), "big")
    return point < rate * 2**64


class InferenceLog:
    """Takes records from the request path (`offer`) and writes them from a thread of its own."""

    def __init__(
        self,
        folder: Path,
        identity: Identity,
        limits: LogLimits | None = None,
        sink: LogSink | None = None,
        profile: Profile | None = None,
    ) -> None:
        self.limits = limits or LogLimits()
        self._profile = profile
        self._identity = asdict(identity)
        self._folder = folder
        self._stem = f"{identity.slot}-{identity.replica}-{os.getpid()}"
        self._sink = sink or _Segments(folder, self._stem, self.limits.segment_bytes)
        self._counts = LogCounts()
        self._lock = threading.Lock()
        self._queue: deque[Served] = deque()
        self._queued_bytes = 0
        self._wake = threading.Event()
        self._closing = False
        self._failing = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="inference-log", daemon=True)
        self._thread.start()

    def offer(self, served: Served) -> None:
        """Count the request and queue its record; returns at once whatever the state of the disk."""
        keep = sampled(served.id, self.limits.sample_rate)
        size = served.nbytes
        with self._lock:
            self._counts.requests[served.status] += 1
            if not keep:
                self._counts.sampled_out[served.status] += 1
            elif self._closing or len(self._queue) >= self.limits.records or self._queued_bytes + size > self.limits.bytes:
                self._counts.dropped[served.status] += 1
            else:
                self._queue.append(served)
                self._queued_bytes += size

    def counts(self) -> LogCounts:
        """A consistent copy of the counters."""
        with self._lock:
            return self._counts.copy()

    def close(self) -> LogCounts:
        """Write what is queued, then the summary; later offers are counted as dropped."""
        with self._lock:
            self._closing = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        else:
            self._flush()
        self._sink.close()
        self._write_summary()
        return self.counts()

    def _run(self) -> None:
        while not self._closing:
            self._wake.wait(self.limits.flush_seconds)
            self._flush()
        self._flush()

    def _flush(self) -> None:
        with self._lock:
            batch, self._queue = self._queue, deque()
            self._queued_bytes = 0
        if not batch:
            return
        lines, statuses, dropped = [], [], Counter[int]()
        for served in batch:
            try:
                lines.append(
                    msgspec.json.encode(record_of(served, self._identity, self.limits.tensor_bytes, self._profile)) + b"\n"
                )
                statuses.append(served.status)
            except Exception:
                logger.exception("inference log: record of request %s cannot be encoded", served.id)
                dropped[served.status] += 1
        written = self._write(lines)
        with self._lock:
            self._counts.logged.update(statuses[:written])
            self._counts.dropped.update(statuses[written:])
            self._counts.dropped.update(dropped)

    def _write(self, lines: list[bytes]) -> int:
        try:
            written = self._sink.append(lines)
            problem = "" if written == len(lines) else "only a part of a write was taken"
        except OSError as error:
            written, problem = 0, str(error)
        if problem and not self._failing:
            logger.warning("inference log %s: %s; records are dropped until it can be written again", self._folder, problem)
        elif not problem and self._failing:
            logger.warning("inference log %s: can be written again", self._folder)
        self._failing = bool(problem)
        return written

    def _write_summary(self) -> None:
        path = self._folder / f"{self._stem}.summary.json"
        body = {**self._identity, "closed_at": time.time(), "segments": self._sink.names, **self.counts().to_json()}
        try:
            temporary = path.with_suffix(".tmp")
            temporary.write_bytes(msgspec.json.encode(body) + b"\n")
            temporary.replace(path)
        except OSError as error:
            logger.warning("inference log: summary %s cannot be written: %s", path, error)


class _Segments:
    """Append whole lines to the current segment; a new one when it is full, or when its file or folder was taken away."""

    def __init__(self, folder: Path, stem: str, segment_bytes: int) -> None:
        self._folder, self._stem, self._limit = folder, stem, segment_bytes
        self._fd = -1
        self._size = 0
        self._n = 0
        self._path = folder
        self.names: list[str] = []

    def append(self, lines: list[bytes]) -> int:
        """Number of lines that were written whole; the file never keeps a part of one. Raises OSError for none."""
        if not lines:
            return 0
        self._open_if_needed()
        data = b"".join(lines)
        written = 0
        try:
            while written < len(data):
                written += os.write(self._fd, data[written:])
        except OSError:
            whole, kept = 0, 0
            for line in lines:
                if kept + len(line) > written:
                    break
                whole, kept = whole + 1, kept + len(line)
            os.ftruncate(self._fd, self._size + kept)
            self._size += kept
            if whole == 0:
                raise
            return whole
        self._size += len(data)
        return len(lines)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _open_if_needed(self) -> None:
        if self._fd >= 0 and (self._size >= self._limit or not self._path.exists()):
            self.close()
        if self._fd >= 0:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        while True:
            path = self._folder / f"{self._stem}-{self._n}.jsonl"
            self._n += 1
            try:
                self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o644)
            except FileExistsError:
                continue  # left by an earlier process with the same pid
            self._path, self._size = path, 0
            self.names.append(path.name)
            return
