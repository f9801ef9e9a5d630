"""Measures reads of features by key, next to the plainest read of the same rows in the same run. Prints a table.

    python tests/benchmarks/feature_reads.py [READS]

`store` is the reader that a slot uses, over rows with a checksum; `unchecked` the same over rows as earlier versions wrote
them, without one; `in a thread` the first, asked from an event loop through one thread, as slots read a store behind a network.
`plain` is one SELECT of the same keys by sqlite3, or one MGET by redis-py, decoded by nobody. Kinds take turns, so that all
meet the same machine. 5,000 entities with two views of 30 features; entities are drawn anew for each read.
"""

from __future__ import annotations

import asyncio
import contextlib
import runpy
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np

from tidegate.adapters.packed.columns import schema_of
from tidegate.adapters.packed.online import open_online_reader
from tidegate.adapters.packed.places import open_backend
from tidegate.adapters.packed.rows import ViewRows
from tidegate.adapters.packed.sqlite import READ
from tidegate.domain.contract import FeatureContract

NAMES = tuple(f"f{n}" for n in range(30))
VIEWS = ("sales", "profile")
CONTRACT = FeatureContract("s", "sku", dict.fromkeys(VIEWS, NAMES), tuple(f"{v}__{name}" for v in VIEWS for name in NAMES))
ENTITIES = tuple(f"sku{n}" for n in range(5_000))
TURN = 50  # reads of a kind before the next kind's turn
Read = Callable[[Sequence[str]], Any]


@contextlib.contextmanager
def redis() -> Iterator[str]:
    """A Redis of its own, as the contract tests start it."""
    start = runpy.run_path(str(Path(__file__).parents[1] / "contract" / "conftest.py"))["redis_url"].__wrapped__
    with tempfile.TemporaryDirectory() as folder:
        server = start(SimpleNamespace(mktemp=lambda _: Path(folder)))
        try:
            yield next(server)
        finally:
            next(server, None)


def filled(address: str) -> str:
    rng = np.random.default_rng(1)
    times = np.full(len(ENTITIES), 86_400_000_000)
    rows = {view: ViewRows(NAMES, ENTITIES, times, rng.normal(size=(len(ENTITIES), len(NAMES)))) for view in VIEWS}
    backend = open_backend(address, writable=True)
    backend.write(rows, replace=True)
    backend.close()
    return address


def unchecked_rows() -> Iterator[tuple[str, str, bytes]]:
    values = np.random.default_rng(1).normal(size=(len(ENTITIES), len(NAMES)))
    for view in VIEWS:
        for n, entity in enumerate(ENTITIES):
            yield view, entity, msgspec.msgpack.encode((schema_of(NAMES), 86_400_000_000, values[n].tobytes()))


def of_sqlite(folder: Path) -> dict[str, Read]:
    store, old = filled(str(folder / "online.db")), filled(str(folder / "old.db"))
    (folder / "old.db.watermark").unlink()  # which would refuse a file that was changed
    with sqlite3.connect(old) as connection:
        rows = [(data, view, entity) for view, entity, data in unchecked_rows()]
        connection.executemany("UPDATE rows SET data = ? WHERE view = ? AND entity = ?", rows)
    plain, views = sqlite3.connect(store), msgspec.json.encode(VIEWS).decode()
    return {
        "store": open_online_reader(store, CONTRACT).read,
        "unchecked": open_online_reader(old, CONTRACT).read,
        "plain": lambda asked: plain.execute(READ, (views, msgspec.json.encode(asked).decode())).fetchall(),
    }


def of_redis(url: str) -> dict[str, Read]:
    import redis as vendor

    client = vendor.Redis.from_url(url)
    store, old = filled(f"{url}#demand"), filled(f"{url}#old")
    client.mset({f"tidegate:features:old:row:{view}:{entity}": data for view, entity, data in unchecked_rows()})
    keys = {entity: [f"tidegate:features:demand:row:{view}:{entity}" for view in VIEWS] for entity in ENTITIES}
    return {
        "store": open_online_reader(store, CONTRACT).read,
        "unchecked": open_online_reader(old, CONTRACT).read,
        "plain": lambda asked: client.mget([key for entity in asked for key in keys[entity]]),
    }


async def timed(reads: dict[str, Read], entities: int, count: int) -> dict[str, np.ndarray]:
    """Microseconds of each read, by kind."""
    rng, loop, thread = np.random.default_rng(2), asyncio.get_running_loop(), ThreadPoolExecutor(1)
    found: dict[str, list[float]] = {kind: [] for kind in (*reads, "in a thread")}
    while len(found["plain"]) < count:
        for kind, times in found.items():
            for _ in range(TURN):
                asked = [ENTITIES[n] for n in rng.integers(0, len(ENTITIES), entities)]
                began = time.perf_counter()
                if kind == "in a thread":
                    answer = await loop.run_in_executor(thread, reads["store"], asked)
                else:
                    answer = reads[kind](asked)
                times.append((time.perf_counter() - began) * 1e6)
                if kind != "plain" and not answer.found.all():
                    raise ValueError(f"{kind}: an entity was not found")
    thread.shutdown()
    return {kind: np.array(times) for kind, times in found.items()}


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 2_000
    print(f"{count:,} reads of each kind\n")
    print("| store | entities | kind | median | 99th of 100 | times plain |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder, redis() as url:
        for name, reads in (("SQLite", of_sqlite(Path(folder))), ("Redis", of_redis(url))):
            for entities in (1, 100):
                found = asyncio.run(timed(reads, entities, count))
                plain = float(np.median(found["plain"]))
                for kind, times in found.items():
                    median, high = np.median(times), np.quantile(times, 0.99)
                    print(
                        f"| {name} | {entities} | {kind} | {median:,.0f} us | {high:,.0f} us | {median / plain:.2f} |",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
