"""Ports of a target: where slots run and how traffic reaches them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

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
    """Cumulative counters of one slot as the proxy saw them (mirrored requests apart from live ones)."""

    completed: int
    errors_5xx: int
    active: int  # in flight now
    latency_buckets_ms: Mapping[float, int]  # cumulative count by upper bound


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
