"""Ports of a target: where slots run and how traffic reaches them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from tidegate.domain.slots import Desired, Slot


@dataclass(frozen=True)
class SlotStatus:
    slot: Slot
    release: str | None  # digest the processes or pods really run
    wanted: int
    ready: int
    problem: str = ""  # why the release that is wanted there cannot start; "" as long as it may


@dataclass(frozen=True)
class SlotTraffic:
    """Cumulative counters of one slot's predictions as the proxy saw them: requests that ask for a prediction, live ones apart
    from mirrored ones, without probes, documents and what the gateway itself refused.

    Counters start at zero with the proxy, so one that fell tells of a restart.
    """

    completed: int
    errors_5xx: int
    active: int  # in flight now
    latency_buckets_ms: Mapping[float, int]  # cumulative count by upper bound
    refused_4xx: int = 0
    unavailable: int = 0  # of errors_5xx, those with 503 or 504: nobody could be reached, or not in time

    def since(self, before: SlotTraffic) -> SlotTraffic:
        """What happened after `before`, or all of it where the counters were restarted."""
        if self.restarted_after(before):
            return self
        buckets = {bound: n - before.latency_buckets_ms.get(bound, 0) for bound, n in self.latency_buckets_ms.items()}
        return SlotTraffic(
            self.completed - before.completed,
            self.errors_5xx - before.errors_5xx,
            self.active,
            buckets,
            self.refused_4xx - before.refused_4xx,
            self.unavailable - before.unavailable,
        )

    def restarted_after(self, before: SlotTraffic) -> bool:
        """Whether the counters began again at zero."""
        now, then = ((each.completed, each.errors_5xx, each.refused_4xx) for each in (self, before))
        return any(count < earlier for count, earlier in zip(now, then, strict=True))

    def plus(self, more: SlotTraffic) -> SlotTraffic:
        """Both together; `active` is the later one's."""
        bounds = sorted({*self.latency_buckets_ms, *more.latency_buckets_ms})
        buckets = {b: self.latency_buckets_ms.get(b, 0) + more.latency_buckets_ms.get(b, 0) for b in bounds}
        return SlotTraffic(
            self.completed + more.completed,
            self.errors_5xx + more.errors_5xx,
            more.active,
            buckets,
            self.refused_4xx + more.refused_4xx,
            self.unavailable + more.unavailable,
        )

    def to_json(self) -> dict[str, Any]:
        buckets = [[None if math.isinf(bound) else bound, count] for bound, count in self.latency_buckets_ms.items()]
        return {**vars(self), "latency_buckets_ms": buckets}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> SlotTraffic:
        """Raises KeyError, TypeError or ValueError for what `to_json` does not write."""
        buckets = {math.inf if bound is None else float(bound): int(count) for bound, count in value["latency_buckets_ms"]}
        counts = {name: int(count) for name, count in value.items() if name != "latency_buckets_ms"}
        return cls(**counts, latency_buckets_ms=buckets)


class LiveTraffic(Protocol):
    """What happens to clients' requests."""

    def routed(self, model: str) -> tuple[Slot | None, bool]:
        """The slot that the proxy really sends live traffic to, and whether it mirrors."""

    def traffic(self, model: str) -> Mapping[Slot, SlotTraffic]: ...


class Target(LiveTraffic, Protocol):
    """What a rollout engine needs of a place to run: compare and set what is wanted, and look at what is."""

    def desired(self, model: str) -> Desired: ...

    def set_desired(self, desired: Desired, expected_generation: int) -> Desired:
        """Durably replace what is wanted; raises Conflict when the generation is another than expected."""

    def slots(self, model: str) -> Mapping[Slot, SlotStatus]: ...
