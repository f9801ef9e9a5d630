"""A slot's real process over a small packed store of its own."""

from __future__ import annotations

import http.client
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from serving_builders import CONTRACT, T0, demand_release
from tidegate.adapters.packed.places import open_backend
from tidegate.adapters.packed.rows import ViewRows
from tidegate.apps.slot_settings import SlotSettings


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def arguments(folder: Path, logs: Path, port: int, online: str = "") -> list[str]:
    """The command of a slot over a real packed store with the SKUs of the builder's reader, by default a file."""
    store = online or str(logs.parent / "online.db")
    names = [f"S{i}" for i in range(20)]
    values = np.array([[i, i / 4] for i in range(20)], dtype=np.float64)
    rows = ViewRows(CONTRACT.stored["sku_sales"], names, np.full(20, T0, dtype=np.int64), values)
    backend = open_backend(store, writable=True)
    backend.write({"sku_sales": rows}, replace=True)
    backend.close()
    return SlotSettings(folder, "demand", "green", 1, port, store, logs).command()


@dataclass
class Slot:
    process: subprocess.Popen[bytes]
    port: int
    folder: Path
    logs: Path

    def wait_ready(self) -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
                connection.request("GET", "/readyz")
                if connection.getresponse().status == 200:
                    return
            except OSError:
                time.sleep(0.02)
        raise AssertionError(f"the slot did not become ready, exit code {self.process.poll()}")


@contextmanager
def running_slot(folder: Path, online: str = "") -> Iterator[Slot]:
    """A slot that is ready, with its release, logs and standard error below `folder`; killed at the end of the block."""
    release, port = demand_release(folder / "releases"), free_port()
    with (folder / "stderr").open("wb") as errors:
        process = subprocess.Popen(arguments(release, folder / "logs", port, online), stderr=errors)
    started = Slot(process, port, release, folder / "logs")
    try:
        started.wait_ready()
        yield started
    finally:
        process.kill()
        process.wait()
