"""A store that hangs or is away: one time-out, then refusals at once, and nobody's request is the one that tries again."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from serving_builders import AsgiClient, FakeReader, demand_release
from story import eventually
from tidegate.apps.slot import build
from tidegate.apps.slot_settings import SlotSettings
from tidegate.domain.errors import IntegrityError, Unavailable
from tidegate.ports.features import OnlineRows
from tidegate.serving.runtime.store_guard import QUICK_READS, SLOW_SECONDS, StoreGuard

GOOD = {"skus": ["S1"], "horizon": 1}


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Store(FakeReader):
    """`hanging` makes every question wait for `goes_on` and then give up, as a reader with a time-out does."""

    def __init__(self) -> None:
        super().__init__()
        self.hanging, self.damaged = False, False
        self.goes_on = threading.Event()
        self.asked = 0
        self.clock = Clock()
        self.takes = 0.0

    def ping(self) -> None:
        self.asked += 1
        self.clock.now += self.takes
        if self.hanging:
            self.goes_on.wait(30)
            raise Unavailable("online store fake: no answer within 0.25 s")
        super().ping()

    def read(self, entities: Sequence[str]) -> OnlineRows:
        if self.damaged:
            raise IntegrityError("online store fake: the row of 'S1' is damaged")
        return super().read(entities)


@pytest.fixture
def store() -> Iterator[Store]:
    made = Store()
    yield made
    made.hanging = False
    made.goes_on.set()


def test_a_store_that_is_away_is_asked_by_us_alone_until_it_answers(store: Store) -> None:
    guard = StoreGuard(store)
    store.down = True
    with pytest.raises(Unavailable, match=r"cannot be reached$"):
        guard.read(["S1"])
    reads = store.reads
    for _ in range(100):
        with pytest.raises(Unavailable, match="in the background"):
            guard.read(["S1"])
    assert store.reads == reads
    store.down = False
    eventually(lambda: not guard._away)
    assert guard.read(["S1"]).found.all()
    guard.close()
    assert store.closed


def test_a_damaged_row_is_refused_and_no_other(store: Store) -> None:
    guard = StoreGuard(store)
    store.damaged = True
    with pytest.raises(Unavailable, match="row of 'S1' is damaged"):
        guard.read(["S1"])
    store.damaged = False
    assert guard.read(["S2"]).found.all()


def test_what_is_remote_or_was_slow_lately_is_not_for_the_event_loop(store: Store) -> None:
    assert not StoreGuard(store, remote=True).quick
    guard = StoreGuard(store, clock=store.clock)
    assert guard.quick
    store.takes = 2 * SLOW_SECONDS
    guard.read(["S1"])
    assert not guard.quick
    store.takes = 0.0
    for _ in range(QUICK_READS):
        assert not guard.quick
        guard.read(["S1"])
    assert guard.quick


def test_a_store_that_hangs_delays_neither_liveness_nor_later_requests(tmp_path: Path, store: Store) -> None:
    """The first prediction waits for the store's own time-out; all else is answered meanwhile."""
    folder = demand_release(tmp_path / "releases")
    settings = SlotSettings(folder, "demand", "blue", 0, 0, "redis://fake", tmp_path / "logs")
    client = AsgiClient(build(settings, lambda location, contract: store).app)
    assert client.post("/predict", GOOD).status == 200
    store.hanging = True
    body = b'{"skus": ["S1"], "horizon": 1}'
    headers = {"content-type": "application/json"}

    async def during_the_hang() -> list[int]:
        first = asyncio.create_task(client._request("POST", "/predict", body, headers, 1))
        while store.reads < 2:
            await asyncio.sleep(0.001)
        asked = store.asked
        ready = asyncio.create_task(client._request("GET", "/readyz", b"", {}, 1))
        while store.asked == asked:
            await asyncio.sleep(0.001)
        live = [(await client._request("GET", "/livez", b"", {}, 1)).status for _ in range(20)]
        assert (first.done(), ready.done()) == (False, False)
        store.goes_on.set()
        later = await asyncio.gather(*(client._request("POST", "/predict", body, headers, 1) for _ in range(50)))
        return [*live, (await first).status, (await ready).status, *(reply.status for reply in later)]

    assert asyncio.run(during_the_hang()) == [200] * 20 + [503] * 52
    assert store.reads == 2  # the one that waited was the last that a client's request asked
    store.hanging = False
    eventually(lambda: client.post("/predict", GOOD).status == 200)
