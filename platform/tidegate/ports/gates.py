"""Port of a gate: what it may look at, and what a kind of gate is.

A kind is a module: `Rules`, a frozen dataclass that is read from the monitor file (`tidegate.domain.rules`), and `judge`.
What is named here is what authors of gates build on (`tidegate.api.gates`): it is removed or changed in meaning only with a
major version.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from tidegate.domain.release import ReleaseManifest
from tidegate.domain.rules import between, share
from tidegate.domain.slots import Slot
from tidegate.domain.verdict import Evidence, GateResult, Verdict
from tidegate.ports.inference_records import InferenceRecord, InferenceRecords, Selection

if TYPE_CHECKING:
    from tidegate.ports.drift import DriftMeter
    from tidegate.ports.features import HistoricalFeatures
    from tidegate.ports.model_scorer import ModelScorer
    from tidegate.ports.traffic import LiveTraffic, SlotTraffic

FIRST_COUNT = "tidegate.traffic"


class GateStage(StrEnum):
    """When a gate is asked: before the switch, in this order, or after it."""

    VERIFY = "verify"
    SHADOW = "shadow"
    BAKE = "bake"


@dataclass(frozen=True)
class Slo:
    """What a model promises to its clients."""

    availability: float = share()
    latency_ms: float = between(0.1)
    latency_share: float = share()


@dataclass(frozen=True)
class GateContext:
    """What a live gate may look at. Folders are release folders; `since` is seconds since the epoch. `active` is the release
    that clients reach, or reached before the switch. `counted_before` is what the gateway had counted of the candidate's slot
    when the stage began, where that is known; in `unwatched_seconds` of the stage nobody looked: what happened then counts,
    the time does not."""

    model: str
    candidate: ReleaseManifest
    candidate_folder: Path
    candidate_slot: Slot
    active: ReleaseManifest | None
    active_folder: Path | None
    since: float  # start of the stage: only traffic after it counts
    deadline: float  # a gate still INCONCLUSIVE then has not passed
    unwatched_seconds: float = field(default=0.0, kw_only=True)
    counted_before: SlotTraffic | None = field(default=None, kw_only=True)


@dataclass(frozen=True)
class Instruments:
    """What kinds measure with, of one model on one target."""

    records: InferenceRecords
    features: HistoricalFeatures
    scorer: ModelScorer
    meter: DriftMeter
    traffic: LiveTraffic
    clock: Callable[[], float]


@dataclass(frozen=True)
class Case(GateContext):
    """What gate `gate` judges now. `memory` and `kept` are the gate's own and last as long as the stage does. `memory` is
    empty again after a restart. `kept`, plain JSON, is written after each judgement and given to whoever takes over: what was
    counted there is not forgiven by a restart."""

    gate: str
    slo: Slo
    min_seconds: float  # a PASS counts after as many seconds of the stage
    instruments: Instruments
    memory: MutableMapping[Any, Any]
    kept: MutableMapping[str, Any]

    @property
    def now(self) -> float:
        """Seconds since the epoch."""
        return self.instruments.clock()

    @property
    def watched_seconds(self) -> float:
        """Of the stage, so far."""
        return self.now - self.since - self.unwatched_seconds

    def candidate_records(self) -> Iterator[InferenceRecord]:
        """What the candidate answered since the stage began, mirrored or live, oldest first."""
        return self.instruments.records.read(Selection(self.candidate.digest, since=self.since))

    def live_records(self) -> Iterator[InferenceRecord]:
        """What the active release answered to clients since the stage began, oldest first; nothing where none is active."""
        if self.active is not None:
            yield from self.instruments.records.read(Selection(self.active.digest, shadow=False, since=self.since))

    def candidate_traffic(self) -> SlotTraffic | None:
        """What the gateway counted of the candidate's slot since the stage began, or since this gate first looked where what
        was counted before is not known; None while there are no counters of it."""
        now = self.instruments.traffic.traffic(self.model).get(self.candidate_slot)
        if now is None:
            return None
        first = self.kept.setdefault(FIRST_COUNT, (self.counted_before or now).to_json())
        return now.since(type(now).from_json(first))


class GateKind(Protocol):
    """A module with `Rules` and `judge`. It may name `STAGES`, where it makes sense in some alone."""

    Rules: type[Any]

    def judge(self, case: Case, rules: Any, /) -> tuple[Verdict, Evidence]:
        """INCONCLUSIVE asks to be judged again before the deadline. Whatever is raised is an ERROR."""


class Evaluations(Protocol):
    def poll(self, gate: str, context: GateContext, interval: float) -> GateResult | None:
        """The next result, or None while there is none; begins an evaluation when none runs and `interval` has passed."""

    def running_seconds(self, gate: str, context: GateContext) -> float:
        """How long the evaluation that runs now has been running; 0 when none does."""


Evaluate = Callable[[str, GateContext], GateResult]  # one evaluation of the gate with that name; never raises
