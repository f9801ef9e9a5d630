"""The persisted record of each rollout, `rollouts/<model>/<id>.json`, and who may start or hold one.

    RUNNING ─> DONE | ROLLED_BACK | ABORTED | FAILED     terminal, never left
       └─────> FROZEN ─> RUNNING (unfrozen) | ABORTED (aborted, or superseded by the next rollout)

A record is replaced atomically and fsynced; all changes of a model's records happen under one lock. A model has at most one
rollout that is not terminal. A person's freeze is a hold on the model (`hold`): no rollout starts while it is there.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from tidegate.domain.actor import KEYS as NAMING
from tidegate.domain.actor import UNKNOWN, Actor, named, named_in
from tidegate.domain.errors import Conflict, IntegrityError, NotFound, TidegateError
from tidegate.domain.formats import Format, Unknown, added, document
from tidegate.files.durable_files import locked, read_json, remove, replace_durably
from tidegate.files.reserve import Reserve
from tidegate.rollout.plan import Bake, Plan, Stage


class Status(StrEnum):
    RUNNING = "RUNNING"
    DONE = "DONE"
    ROLLED_BACK = "ROLLED_BACK"
    FROZEN = "FROZEN"
    ABORTED = "ABORTED"
    FAILED = "FAILED"

    @property
    def terminal(self) -> bool:
        return self not in (Status.RUNNING, Status.FROZEN)


ENDINGS = frozenset(status.value for status in Status if status.terminal)
Json = dict[str, Any]
RESTORE = "restore it from a backup, or remove it if that cannot be done"
# What an ended rollout says is history; one that is under way is executed, and a condition may not be left out.
ENDED = Format("rollout's record", Unknown.IGNORED)
UNDER_WAY = Format("rollout's record", Unknown.REFUSED)
DERIVED = ("release", "slot", "previous")  # written for whoever reads the file


@dataclass(frozen=True)
class Rollout:
    """One rollout. Times are seconds since the epoch.

    `undo` says that what was done is being taken back, in which status that ends and why. `request` is a person's order
    that the engine has not executed yet. `gates` has the latest result of each gate, `history` every event in order. The bake
    was last watched at `watched_at`, and `unwatched_seconds` of it passed while nobody did. `counted_before` are the gateway's
    counters of the slot just before the switch.
    """

    id: str
    model: str
    candidate: str  # digest
    candidate_id: str
    plan: Plan
    created_at: float
    actor: Actor
    kind: str = "rollout"  # or 'rollback', a person's order
    status: Status = Status.RUNNING
    reason: str = ""
    stage: int = 0
    stage_at: float = 0.0
    stage_ready_at: float | None = None  # when a check's preconditions held: its gate looks at traffic after it
    resumed: int = 0  # how often time in which nobody had driven the rollout was not the stages'
    ended_at: float | None = None
    undo: Json | None = None
    request: Json | None = None
    frozen: Json | None = None
    retraining_requested: bool = False
    overrides: Mapping[str, Json] = field(default_factory=dict)
    times: Mapping[str, float] = field(default_factory=dict)
    gates: Mapping[str, Json] = field(default_factory=dict)
    history: tuple[Json, ...] = ()
    sequence: int = 0  # grows by one with each rollout of a model; 0 in records that had none
    watched_at: float = added(default=0.0)
    unwatched_seconds: float = added(default=0.0)
    counted_before: Json | None = added(default=None)  # noqa: RUF009 (a field)

    @property
    def current(self) -> Stage | None:
        return self.plan.stages[self.stage] if self.stage < len(self.plan.stages) else None

    @property
    def switched(self) -> bool:
        """Whether the candidate may already have had live traffic."""
        return "switch_requested" in self.times

    @property
    def needs_controller(self) -> bool:
        """Whether there is something to do or to watch."""
        if self.status.terminal:
            return False
        return self.status is Status.RUNNING or self.switched or self.undo is not None or self.request is not None

    def noted(self, at: float, event: str, message: str, **more: Any) -> Rollout:
        stage = self.current.kind if self.current else "end"
        entry = {"at": at, "stage": stage, "event": event, "message": message, **more}
        return replace(self, history=(*self.history, entry))

    def next_stage(self, now: float) -> Rollout:
        began = replace(self, stage=self.stage + 1, stage_at=now, stage_ready_at=None)
        return replace(began, watched_at=0.0, unwatched_seconds=0.0)

    def taken_over(self, now: float) -> Rollout:
        """After nobody drove it for a while: a bake goes on where it was, another stage begins anew."""
        taken = replace(self, resumed=self.resumed + 1)
        if not isinstance(self.current, Bake):
            return replace(taken, stage_at=now, stage_ready_at=None)
        away = max(0.0, now - max(self.watched_at, self.stage_at))
        return replace(taken, watched_at=now, unwatched_seconds=self.unwatched_seconds + away)

    def to_json(self) -> Json:
        value = {**document(self), "plan": self.plan.to_json(), **named(self.actor)}
        return {**value, "release": self.candidate_id, "slot": self.plan.slot, "previous": self.plan.previous}

    @classmethod
    def from_json(cls, value: Any, where: str = "rollout") -> Rollout:
        """Raises IntegrityError that names `where`."""
        read = UNDER_WAY.upgraded(value, where)
        format = ENDED if str(read.get("status")) in ENDINGS else UNDER_WAY
        if not isinstance(read.get("actor"), str):
            raise IntegrityError(f"{where}: the {format.name} does not name its actor; it is damaged, {RESTORE}")
        made = {"plan": Plan.of(format, read.get("plan"), where), "actor": named_in(read)}
        read = {key: part for key, part in read.items() if key not in (*DERIVED, *NAMING)}
        return format.convert(read, cls, where, **made)


class RolloutStore:
    """The records below `folder` (`rollouts/` of the state folder)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.reserve = Reserve(folder)
        self._ended: set[tuple[str, str]] = set()  # terminal records never change, so they are read once

    @contextmanager
    def lock(self, model: str) -> Iterator[None]:
        with locked(self.folder / model / ".lock"):
            yield

    def load(self, model: str, id: str) -> Rollout:
        """Raises NotFound, or IntegrityError for a damaged record."""
        path = self.folder / model / f"{id}.json"
        what = f"rollout {id} of model {model}"
        found = read_json(path, what, lambda value: Rollout.from_json(value, f"{what}: {path}"), RESTORE)
        if found is None:
            raise NotFound(f"model {model} has no rollout '{id}'; list them with 'tidegate status'")
        return found

    def save(self, rollout: Rollout) -> Rollout:
        content = json.dumps(rollout.to_json(), indent=1, allow_nan=False).encode()
        replace_durably(self.folder / rollout.model / f"{rollout.id}.json", content)
        self.reserve.keep()
        return rollout

    def ordered(self, rollout: Rollout) -> Rollout:
        """Save what a person ordered to end or to hold: on a full disk, in the room that is kept for it."""
        return self.reserve.for_order(lambda: self.save(rollout))

    def models(self) -> list[str]:
        return sorted(path.name for path in self.folder.glob("*") if path.is_dir())

    def all(self, model: str) -> list[Rollout]:
        """All that can be read, oldest first: in the order of their sequence numbers, whatever the clocks said."""
        return sorted(self._readable(model)[0], key=lambda r: (r.sequence, r.created_at, r.id))

    def damaged(self, model: str) -> list[str]:
        """A sentence for each record of the model that cannot be read."""
        return self._readable(model)[1]

    def damaged_ids(self, model: str) -> set[str]:
        """Of the records that cannot be read."""
        known = {rollout.id for rollout in self._readable(model)[0]}
        return {path.stem for path in (self.folder / model).glob("*.json")} - known

    def _readable(self, model: str) -> tuple[list[Rollout], list[str]]:
        found, problems = [], []
        for path in sorted((self.folder / model).glob("*.json")):
            try:
                found.append(self.load(model, path.stem))
            except NotFound:
                continue  # removed while we looked
            except TidegateError as error:
                problems.append(str(error))
        return found, problems

    def unfinished(self, model: str) -> Rollout | None:
        """The one that has not ended, among those that can be read: a damaged old record holds up nothing that is under way."""
        for path in sorted((self.folder / model).glob("*.json"), reverse=True):
            if (model, path.stem) in self._ended:
                continue
            try:
                rollout = self.load(model, path.stem)
            except TidegateError:
                continue  # `damaged` names it, and no rollout starts beside it
            if not rollout.status.terminal:
                return rollout
            self._ended.add((model, path.stem))
        return None

    def latest(self, model: str, status: Status | None = None) -> Rollout | None:
        return next((r for r in reversed(self.all(model)) if status is None or r.status is status), None)

    def refuse_second(self, rollout: Rollout) -> None:
        """Raises Conflict while another rollout of the model is not terminal."""
        other = self.unfinished(rollout.model)
        if other is not None:
            raise Conflict(
                f"starting a rollout of {rollout.candidate_id}: rollout {other.id} of {other.candidate_id} is {other.status}; "
                f"follow it with 'tidegate rollout {rollout.model} --release {other.candidate_id}' or end it with "
                f"'tidegate rollout abort {rollout.model} --reason TEXT'"
            )

    def refuse_damaged(self, model: str, what: str = "starting a rollout") -> None:
        """Raises IntegrityError while a record of the model cannot be read: it may be one that is under way."""
        if problems := self.damaged(model):
            raise IntegrityError(f"{what} of model {model}: {problems[0]}")

    def next_sequence(self, model: str) -> int:
        return max((r.sequence for r in self.all(model)), default=0) + 1

    def new_id(self, model: str, candidate: str, now: float) -> str:
        stem = time.strftime("%Y%m%d-%H%M%S", time.gmtime(now)) + "-" + candidate[:8]
        taken = {path.stem for path in (self.folder / model).glob("*.json")}
        return next(id for n in range(len(taken) + 1) if (id := stem if n == 0 else f"{stem}-{n}") not in taken)

    def hold(self, model: str) -> Json | None:
        """A person's freeze: actor, reason, at; None when there is none. A file that cannot be read still holds the model."""
        path = self.folder / model / "hold"
        try:
            return read_json(path, f"the freeze of model {model}", _hold, f"'tidegate unfreeze {model} --reason TEXT' lifts it")
        except TidegateError as error:
            return {"kind": "freeze", **named(UNKNOWN), "reason": str(error), "at": 0.0}

    def set_hold(self, model: str, hold: Json | None) -> None:
        path = self.folder / model / "hold"
        if hold is None:
            remove(path)
        else:
            self.reserve.for_order(lambda: replace_durably(path, json.dumps(hold).encode()))
            self.reserve.keep()


def _hold(value: Any) -> Json:
    return {**value, "actor": str(value["actor"]), "reason": str(value["reason"]), "at": float(value["at"])}
