"""Port of a gate: a check of a release that yields a verdict with evidence."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tidegate.domain.release import ReleaseManifest
from tidegate.domain.slots import Slot
from tidegate.domain.verdict import GateResult


@dataclass(frozen=True)
class GateContext:
    """What a live gate may look at. Folders are release folders; `since` is seconds since the epoch."""

    model: str
    candidate: ReleaseManifest
    candidate_folder: Path
    candidate_slot: Slot
    active: ReleaseManifest | None
    active_folder: Path | None
    since: float  # start of the stage: only traffic after it counts
    deadline: float  # a gate still INCONCLUSIVE then has not passed


class Gate(Protocol):
    name: str

    def evaluate(self, context: GateContext) -> GateResult:
        """INCONCLUSIVE asks to be evaluated again before the deadline; never raises."""


class Evaluations(Protocol):
    def poll(self, gate: str, context: GateContext, interval: float) -> GateResult | None:
        """The next result, or None while there is none; begins an evaluation when none runs and `interval` has passed."""

    def running_seconds(self, gate: str, context: GateContext) -> float:
        """How long the evaluation that runs now has been running; 0 when none does."""
