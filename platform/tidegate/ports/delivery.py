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
class Standing:
    """How a rollout stands. `status` is RUNNING, DONE, ROLLED_BACK, ABORTED, FAILED, FROZEN or UNCHANGED.

    `verdicts` are results of gates as `tidegate.domain.verdict.to_json` has them, `measured` those that the target tells in
    words. `live` is what clients reach and `held` who froze it and why, "" where the target does not tell. `next_steps` say
    what a person can do about it, `due` what the registry has not been told. `document` is all that the target knows, as JSON.
    """

    model: str
    release: str
    status: str
    reason: str
    id: str = ""
    live: str = ""
    held: str = ""
    verdicts: tuple[Mapping[str, Any], ...] = ()
    measured: tuple[str, ...] = ()
    next_steps: tuple[str, ...] = ()
    due: Mapping[str, Any] | None = None
    document: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"rollout {self.id} of {self.release}" if self.id else f"rollout of {self.release}"

    @property
    def went_wrong(self) -> bool:
        """Whether it came to an end, or to a stop, that is not what it was for."""
        return self.status not in (RUNNING, DONE, UNCHANGED)

    def to_json(self) -> dict[str, Any]:
        return dict(self.document)


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
class Overview:
    """One model at a glance.

    `since` is when live traffic came to the live release last, and `origin` how: `rollout`, `first` (the first release of
    the model, with nothing to compare it with), `rollback` (by a person's order) or `returned` (a rollout of another release
    was taken back); `origin_note` says it in words.

    `evidence` are the verdicts and overrides of the rollout that let the live release through its gates. `drift` is the latest
    verdict on live traffic, and `drift_note` why there is none. `frozen` says by whom and why, None when it is not.
    `registry` is what the registry has not been told, None when nothing is due. `ledger` is what people should know of it:
    damage, a checkpoint that is away, entries that wait to be recorded. `features` says how far the online rows of the live
    release were brought, None when there are none or they cannot be read.

    `place` is where it runs, `scaled_by` what decides how many replicas, and `latest` its latest rollout, where the target
    tells them. `document`, if any, is what `--json` prints in place of the other fields.
    """

    model: str
    running: bool
    live: str | None
    version: str | None = None
    slot: str | None = None
    since: float | None = None
    trained_until: str | None = None
    evidence: tuple[Mapping[str, Any], ...] = ()
    rollout: Mapping[str, Any] | None = None
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
    latest: Standing | None = None
    document: Mapping[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        if self.document is not None:
            return dict(self.document)
        hidden = ("place", "scaled_by", "latest", "document")
        return {each.name: getattr(self, each.name) for each in fields(self) if each.name not in hidden}


@dataclass(frozen=True)
class WayBack:
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
        """How the latest rollout stands."""

    def overview(self, model: str, with_drift: bool) -> Overview: ...

    def abort(self, model: str, reason: str, actor: Actor) -> Standing: ...

    def freeze(self, model: str, reason: str, actor: Actor) -> None:
        """Let nothing go forward until `unfreeze`; what is live stays live, and goes on being watched."""

    def unfreeze(self, model: str, reason: str, actor: Actor) -> Standing | None:
        """Lift the freeze; the rollout that goes on, where the target tells it."""

    def override(self, model: str, gate: str, reason: str, actor: Actor) -> Standing:
        """Let the rollout under way past a gate before the switch, on a person's word."""

    def way_back(self, model: str, to: str | None) -> WayBack:
        """What `rollback` would do; changes nothing."""

    def rollback(self, model: str, reason: str, actor: Actor, to: str | None, say: Say) -> Standing:
        """Go back to the last good release that was live before, or to release `to`, now and without gates; follows it."""
