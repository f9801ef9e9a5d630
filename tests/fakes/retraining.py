"""A queue of retraining in memory, with leases and reports like the one in Redis."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tidegate.domain.actor import Actor
from tidegate.ports.retraining import Report, RetrainingRequest

DELIVERIES = 3


@dataclass
class Store:
    """What all workers share; `lapse` ends every lease."""

    requests: dict[int, RetrainingRequest] = field(default_factory=dict)
    taken: dict[int, int] = field(default_factory=dict)
    held: set[int] = field(default_factory=set)
    reports: dict[str, Report] = field(default_factory=dict)
    highest: int = 0
    names: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def lapse(self) -> None:
        self.held.clear()


@dataclass
class FakeRetraining:
    store: Store = field(default_factory=Store)

    def last(self) -> int:
        return self.store.highest

    def publish(self, request: RetrainingRequest) -> None:
        if request.id > self.store.highest:
            self.store.requests[request.id] = request
            self.store.highest = request.id

    def waiting(self) -> list[RetrainingRequest]:
        return list(self.store.requests.values())

    def take(self) -> RetrainingRequest | None:
        for request in self.waiting():
            if request.id in self.store.held:
                continue
            self.store.taken[request.id] = self.store.taken.get(request.id, 0) + 1
            if self.store.taken[request.id] <= DELIVERIES:
                self.store.held.add(request.id)
                return request
            said = {"request": request.id, "message": "taken too often"}
            self.done(request, Report("retraining.refused", request.release, said, Actor("training")))
        return None

    @contextmanager
    def working(self, request: RetrainingRequest) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.store.held.discard(request.id)
            raise

    def done(self, request: RetrainingRequest, report: Report) -> None:
        self.report(report)
        self.store.requests.pop(request.id, None)

    def report(self, report: Report) -> None:
        self.store.reports[f"{next(self.store.names)}-0"] = report

    def unwritten(self) -> Iterator[tuple[str, Report]]:
        yield from tuple(self.store.reports.items())

    def written(self, name: str) -> None:
        self.store.reports.pop(name, None)
