"""Port of a delivery: what starts, follows, aborts, freezes, overrides and rolls back the rollouts of a target.

A rollout goes on whoever follows it. What a delivery cannot do, or needs for it, it says as one value (`Capabilities`); nobody
asks which one it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Protocol

from tidegate.domain.actor import Actor

Say = Callable[[str], None]
RUNNING, DONE, FROZEN, ABORTED, ROLLED_BACK = "RUNNING", "DONE", "FROZEN", "ABORTED", "ROLLED_BACK"
UNCHANGED = "UNCHANGED"  # the release is live already, and no rollout was started


@dataclass(frozen=True)
class Capabilities:
    """`options` are those of a command that name the target. `needs_image`: a rollout is given the image that serves its
    release. `ways_back` are the ends of a rollback after which clients reach another release."""

    options: str = ""
    needs_image: bool = False
    ways_back: tuple[str, ...] = (DONE, ROLLED_BACK)


@dataclass(frozen=True)
class RolloutView:
    """One rollout: of which release, and how it stands. `status` is RUNNING, DONE, ROLLED_BACK, ABORTED, FAILED, FROZEN or
    UNCHANGED.

    `previous` is the release that its end would go back to. `stages` are all of them and `stage` the one that it is at since
    `stage_at`, where the target tells them. `gates` are results as `tidegate.domain.verdict.to_json` has them, in the plan's
    order; `overrides` are people's, by gate; `message` is the latest word on it. `next_steps` say what a person can do.
    """

    release: str
    status: str
    reason: str = ""
    id: str = ""
    kind: str = "rollout"
    slot: str | None = None
    previous: str | None = None
    stage: str = ""
    stages: tuple[str, ...] = ()
    stage_at: float = 0.0
    message: str = ""
    gates: tuple[Mapping[str, Any], ...] = ()
    overrides: Mapping[str, Any] = field(default_factory=dict)
    retraining_requested: bool = False
    next_steps: tuple[str, ...] = ()
    history: tuple[Mapping[str, Any], ...] = ()

    @property
    def under_way(self) -> bool:
        return self.status in (RUNNING, FROZEN)


@dataclass(frozen=True)
class SlotView:
    """One slot: what runs, how ready it is, and what the gateway counted since it started (None when it does not run)."""

    slot: str
    release: str | None
    ready: int
    wanted: int
    completed: int | None = None
    errors_5xx: int | None = None


@dataclass(frozen=True)
class Standing:
    """How a model stands: what is live, and its latest rollout, None where it had none. The same on each target; what a target
    does not tell, and what was not looked at, is None or empty.

    `running` says whether anything serves it. `since` is when live traffic came to the live release last, and `origin` how:
    `rollout`, `first` (the first release of the model, with nothing to compare it with), `rollback` (by a person's order) or
    `returned` (a rollout of another release was taken back); `origin_note` says it in words.

    `evidence` are the verdicts and overrides of the rollout that let the live release through its gates. `drift` is the latest
    verdict on live traffic, and `drift_note` why there is none. `frozen` says `by` whom, why (`reason`) and since when (`at`),
    None when it is not. `registry` is what the registry has not been told, None when nothing is due. `ledger` is what people
    should know of it: damage, a checkpoint that is away, entries that wait to be recorded. `features` says how far the online
    rows of the live release were brought, None when there are none or they cannot be read.

    `place` is where it runs, where that is not this machine, and `scaled_by` what decides how many replicas.
    """

    model: str
    live: str | None = None
    rollout: RolloutView | None = None
    running: bool | None = None
    version: str | None = None
    slot: str | None = None
    since: float | None = None
    trained_until: str | None = None
    evidence: tuple[Mapping[str, Any], ...] = ()
    frozen: Mapping[str, Any] | None = None
    slots: tuple[SlotView, ...] = ()
    drift: Mapping[str, Any] | None = None
    problem: str = ""
    origin: str = ""
    origin_note: str = ""
    drift_note: str = ""
    registry: Mapping[str, Any] | None = None
    ledger: tuple[str, ...] = ()
    features: Mapping[str, Any] | None = None
    place: str = ""
    scaled_by: str = ""

    @property
    def status(self) -> str:
        """Of the latest rollout; empty where there was none."""
        return self.rollout.status if self.rollout else ""

    @property
    def release(self) -> str:
        return self.rollout.release if self.rollout else ""

    @property
    def reason(self) -> str:
        return self.rollout.reason if self.rollout else ""

    @property
    def id(self) -> str:
        return self.rollout.id if self.rollout else ""

    @property
    def name(self) -> str:
        return f"rollout {self.id} of {self.release}" if self.id else f"rollout of {self.release}"

    @property
    def went_wrong(self) -> bool:
        """Whether the rollout came to an end, or to a stop, that is not what it was for."""
        return self.status not in (RUNNING, DONE, UNCHANGED)

    def to_json(self) -> dict[str, Any]:
        """Its fields, and those of the latest rollout that programs ask for most beside them."""
        latest = {name: getattr(self, name) for name in ("release", "status", "reason", "id")}
        return {**{each.name: getattr(self, each.name) for each in fields(self)}, **latest}


@dataclass(frozen=True)
class RollbackTarget:
    """Ids of the release that is live, and of the one that a rollback goes back to; None where there is none."""

    live: str | None
    to: str | None


class Planned(Protocol):
    """What a rollout would do: a line a stage for people, and all of it as JSON."""

    def describe(self) -> list[str]: ...
    def to_json(self) -> dict[str, Any]: ...


class Delivery(Protocol):
    """Models are named first. An order has an actor and a reason, which the ledger keeps.

    Raises NotFound for what there is not, Conflict for an order that does not fit how the model stands, InvalidInput for one
    without a reason or about a gate that cannot be overridden, Unavailable when the target does not answer.
    """

    @property
    def capabilities(self) -> Capabilities: ...

    def whoami(self) -> Actor:
        """Who this process is to the target, with what proves it; orders are given as this actor, by whatever name."""

    def plan(self, model: str, release: str | None) -> Planned:
        """What `start` would do; changes nothing."""

    def start(
        self, model: str, release: str | None, actor: Actor, overrides: Mapping[str, str], image: str | None, say: Say
    ) -> Standing:
        """Start the rollout of a release, by default the latest, or join the one under way."""

    def follow(self, model: str, id: str, say: Say) -> Standing:
        """Say what happens until the rollout settles. Ending it ends no rollout."""

    def standing(self, model: str) -> Standing:
        """How the latest rollout stands. Raises NotFound where there was none."""

    def overview(self, model: str, with_drift: bool) -> Standing:
        """Everything that the target tells of the model."""

    def abort(self, model: str, reason: str, actor: Actor) -> Standing: ...

    def freeze(self, model: str, reason: str, actor: Actor) -> None:
        """Let nothing go forward until `unfreeze`; what is live stays live, and goes on being watched."""

    def unfreeze(self, model: str, reason: str, actor: Actor) -> Standing | None:
        """Lift the freeze; the rollout that goes on, where the target tells it."""

    def override(self, model: str, gate: str, reason: str, actor: Actor) -> Standing:
        """Let the rollout under way past a gate before the switch, on a person's word."""

    def rollback_target(self, model: str, to: str | None) -> RollbackTarget:
        """What `rollback` would do; changes nothing."""

    def rollback(self, model: str, reason: str, actor: Actor, to: str | None, say: Say) -> Standing:
        """Go back to the last good release that was live before, or to release `to`, now and without gates; follows it."""
