"""Replayed load: a client that asks at a steady rate, over keep-alive connections, and logs each answer.

It is an open loop: requests are sent on a fixed schedule whatever the server does, so a slow server cannot hide by slowing the
client. One line of JSON a request goes to the log, written when the request ends:

    id, at (seconds since the epoch, when sent), ms, status, slot and release (headers), body_release, phase,
    outcome: `answered` (the service answered, with whatever status), `lost` (no answer, or one that is the proxy's own error)
             and mixed: the release in the body is not the one in the header

A 5xx with a release header is an answer of that release, a bad one; a 5xx without came from the proxy, and the request is
lost. What is asked is either a list of bodies, in turn, or forecasts of a catalogue (a JSON list of SKUs) as a planning job
wants them, logged with `skus` and `horizon`. Bodies, catalogue and phase (a word) are read again when their files change, so
the scenario can move on without a gap in the load. Ends on SIGTERM, with the process that started it, or after `--seconds`;
every request under way is waited for and logged.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

MAX_SKUS = 3
MAX_HORIZON = 7


@dataclass
class Settings:
    url: str
    phase: Path
    log: Path
    catalogue: Path | None = None
    bodies: Path | None = None
    rate: float = 50.0
    connections: int = 16
    seconds: float = 1800.0
    timeout: float = 10.0
    seed: int = 7


@dataclass
class WatchedFile:
    """A small file whose contents are parsed again when it changes."""

    path: Path
    stamp: int = -1
    value: Any = field(default=None)

    def read(self) -> Any:
        with contextlib.suppress(OSError, ValueError):
            stamp = self.path.stat().st_mtime_ns
            if stamp != self.stamp:
                self.value = json.loads(self.path.read_text())
                self.stamp = stamp
        return self.value


Body = dict[str, Any]


class Planning:
    """Forecasts of some SKUs each: each SKU once before any comes again, as a planning run does."""

    def __init__(self, catalogue: Path, seed: int) -> None:
        self._catalogue, self._chooser = WatchedFile(catalogue), random.Random(seed)
        self._order: list[str] = []

    def next(self) -> tuple[Body, Body] | None:
        """A body, and what is logged of it; None while there is nothing to ask for."""
        known: list[str] = self._catalogue.read() or []
        if not known:
            return None
        if len(self._order) < MAX_SKUS:
            self._order = self._chooser.sample(known, len(known))
        count = self._chooser.randint(1, MAX_SKUS)
        skus, self._order = self._order[:count], self._order[count:]
        body = {"skus": skus, "horizon": self._chooser.randint(1, MAX_HORIZON)}
        return body, body


class InTurn:
    """The bodies of a file, one after the other, and again."""

    def __init__(self, bodies: Path) -> None:
        self._bodies, self._sent = WatchedFile(bodies), 0

    def next(self) -> tuple[Body, Body] | None:
        known: list[Body] = self._bodies.read() or []
        self._sent += 1
        return (known[(self._sent - 1) % len(known)], {}) if known else None


def classify(status: int, release: str | None, body_release: str | None) -> tuple[str, bool]:
    """Outcome of one HTTP answer, and whether it is a mixture of two releases."""
    if release is None:
        return "lost", False
    return "answered", status == 200 and body_release != release


async def send(session: Any, settings: Settings, request_id: str, asked: Body, logged: Body) -> dict[str, Any]:
    record: dict[str, Any] = {"id": request_id, "at": time.time(), **logged}
    started = time.perf_counter()
    try:
        async with session.post(settings.url, json=asked, headers={"x-request-id": request_id}) as response:
            body = await response.read()
            release = response.headers.get("x-tidegate-release")
            body_release = None
            if response.status == 200:
                with contextlib.suppress(ValueError, AttributeError):
                    body_release = json.loads(body).get("release")
            outcome, mixed = classify(response.status, release, body_release)
            record |= {
                "id": response.headers.get("x-request-id", request_id),  # the gateway's, which its log and the slot's have
                "client_id": request_id,
                "status": response.status,
                "slot": response.headers.get("x-tidegate-slot"),
                "release": release,
                "body_release": body_release,
                "outcome": outcome,
                "mixed": mixed,
            }
    except Exception as error:  # whatever stopped it, the request got no answer, and that is what is counted
        record |= {"status": 0, "slot": None, "release": None, "outcome": "lost", "mixed": False, "error": repr(error)[:200]}
    record["ms"] = round((time.perf_counter() - started) * 1000, 3)
    return record


async def run(settings: Settings, log: IO[str]) -> int:
    """Send until told to stop; returns the number of requests sent."""
    import aiohttp

    asks = Planning(settings.catalogue, settings.seed) if settings.catalogue else InTurn(settings.bodies or Path())
    phase = WatchedFile(settings.phase)
    parent = os.getppid()
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stopping.set)
    pending: set[asyncio.Task[None]] = set()
    connector = aiohttp.TCPConnector(limit=settings.connections, keepalive_timeout=60)
    timeout = aiohttp.ClientTimeout(total=settings.timeout)
    sent = 0
    deadline = time.monotonic() + settings.seconds
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:

        async def one(request_id: str, asked: Body, logged: Body, phase_now: str) -> None:
            record = await send(session, settings, request_id, asked, logged)
            log.write(json.dumps(record | {"phase": phase_now}, separators=(",", ":")) + "\n")

        next_at = time.monotonic()
        while not stopping.is_set() and os.getppid() == parent and time.monotonic() < deadline:
            if (ask := asks.next()) is not None:
                sent += 1
                task = asyncio.create_task(one(f"demo-{sent:06d}", *ask, str(phase.read() or "")))
                pending.add(task)
                task.add_done_callback(pending.discard)
            next_at += 1 / settings.rate
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), max(0.0, next_at - time.monotonic()))
        if pending:
            await asyncio.wait(pending, timeout=settings.timeout + 5)
    return sent


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m demo.load", description=__doc__.split("\n")[0])
    parser.add_argument("--url", required=True)
    asked = parser.add_mutually_exclusive_group(required=True)
    for name in ("catalogue", "bodies"):
        asked.add_argument(f"--{name}", type=Path)
    for name in ("phase", "log"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--rate", type=float, default=50.0)
    parser.add_argument("--seconds", type=float, default=1800.0)
    values = parser.parse_args(arguments)
    with values.log.open("a", buffering=1) as log:
        asyncio.run(run(Settings(**vars(values)), log))
    return 0


if __name__ == "__main__":
    sys.exit(main())
