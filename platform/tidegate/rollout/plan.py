"""What a rollout will do, as frozen stages: the engine executes exactly these, and a dry run prints them.

A release reaches live traffic only behind every check of the plan. The first release of a model has nothing to be
compared with and nothing to go back to, so its plan stages, switches and finishes; it is served once its replicas are ready.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from tidegate.domain.errors import Conflict, IntegrityError, InvalidInput
from tidegate.domain.formats import Format, Unknown, added, document
from tidegate.domain.slots import Desired, Slot

SHORT = 12


@dataclass(frozen=True)
class Staging:
    """Start the release in the preview slot and wait until all its replicas are ready."""

    slot: Slot
    release: str
    deadline_seconds: float = 120.0
    kind: ClassVar[str] = "stage"

    def describe(self) -> str:
        return f"start {self.release[:SHORT]} in {self.slot} and wait until it is ready (at most {self.deadline_seconds:g} s)"


@dataclass(frozen=True)
class Check:
    """One gate before the switch. `on_fail` is `rollback` (harm) or `freeze` (input drift); PASS counts after `min_seconds`.
    `gate_kind` is not known of plans of earlier versions."""

    gate: str
    mirror: bool = True
    min_seconds: float = 0.0
    deadline_seconds: float = 120.0
    interval_seconds: float = 0.5
    on_fail: str = "rollback"
    gate_kind: str = added(default="")
    kind: ClassVar[str] = "check"

    def describe(self) -> str:
        mirrored = ", live traffic mirrored to it" if self.mirror else ""
        name = _of_kind(self.gate, self.gate_kind)
        return f"gate {name} must PASS within {self.deadline_seconds:g} s{mirrored}; a failure means {self.on_fail}"


@dataclass(frozen=True)
class Switching:
    """Give the live traffic to the slot; done when the proxy says that it does so."""

    slot: Slot
    deadline_seconds: float = 30.0
    kind: ClassVar[str] = "switch"

    def describe(self) -> str:
        return f"switch live traffic to {self.slot}"


@dataclass(frozen=True)
class Bake:
    """Judge the live traffic again and again; the first FAIL or ERROR switches back."""

    gates: tuple[str, ...]
    min_seconds: float = 12.0
    deadline_seconds: float = 180.0
    interval_seconds: float = 0.25
    evaluation_seconds: float = 10.0  # a gate that takes longer is stuck, which is an ERROR
    gate_kinds: Mapping[str, str] = added(default_factory=dict)  # by gate; not known of plans of earlier versions
    kind: ClassVar[str] = "bake"

    def describe(self) -> str:
        names = ", ".join(_of_kind(gate, self.gate_kinds.get(gate, "")) for gate in self.gates)
        return f"bake for {self.min_seconds:g} s or more: {names} must end in PASS, a failure switches back at once"


@dataclass(frozen=True)
class Finishing:
    """Tell the registry what is live now."""

    deadline_seconds: float = 60.0
    kind: ClassVar[str] = "finish"

    def describe(self) -> str:
        return "record the release as live"


@dataclass(frozen=True)
class Retiring:
    """Empty the slot that was active before, after keeping it for a fast way back."""

    slot: Slot
    keep_seconds: float = 0.0
    kind: ClassVar[str] = "retire"

    def describe(self) -> str:
        kept = f"keep {self.slot} for {self.keep_seconds:g} s, then " if self.keep_seconds else ""
        return f"{kept}empty {self.slot}"


Stage = Staging | Check | Switching | Bake | Finishing | Retiring
STAGES: Mapping[str, type[Stage]] = {s.kind: s for s in (Staging, Check, Switching, Bake, Finishing, Retiring)}


def _of_kind(gate: str, kind: str) -> str:
    return gate if kind in ("", gate) else f"{gate} ({kind})"


@dataclass(frozen=True)
class RolloutConfig:
    """How rollouts of a release go, by the gates that it carries."""

    checks: tuple[Check, ...]
    bake: Bake | None
    ready_seconds: float = 120.0
    keep_previous_seconds: float = 0.0
    keep_preview_when_frozen: bool = False

    def __post_init__(self) -> None:
        for check in self.checks:
            if check.on_fail not in ("rollback", "freeze"):
                raise InvalidInput(f"gate {check.gate}: on_fail is '{check.on_fail}', allowed are rollback and freeze")

    @property
    def gates_before(self) -> tuple[str, ...]:
        """Gates that a release must pass before clients reach it."""
        return tuple(check.gate for check in self.checks)

    @property
    def gates_after(self) -> tuple[str, ...]:
        """Gates of the bake."""
        return self.bake.gates if self.bake else ()


@dataclass(frozen=True)
class Plan:
    """`previous` is what was active when the plan was made, and what a rollback goes back to."""

    model: str
    candidate: str
    slot: Slot
    previous: str | None
    previous_slot: Slot | None
    stages: tuple[Stage, ...]
    keep_preview_when_frozen: bool = False

    @property
    def nothing_to_do(self) -> bool:
        return not self.stages

    def describe(self) -> list[str]:
        """One line a stage, for people."""
        if self.nothing_to_do:
            return [f"{self.candidate[:SHORT]} is active in {self.slot} already: nothing to do"]
        return [f"{number}. {stage.describe()}" for number, stage in enumerate(self.stages, 1)]

    def to_json(self) -> dict[str, Any]:
        return {**document(self), "stages": [{"kind": stage.kind, **document(stage)} for stage in self.stages]}

    @classmethod
    def of(cls, format: Format, value: Any, where: str) -> Plan:
        """The plan in a document of `format`; stages of kinds that are not known are left out where that is safe."""
        if not isinstance(value, Mapping) or not isinstance(value.get("stages"), list):
            raise IntegrityError(f"{where}: the {format.name} has no plan with stages; it is damaged, restore it")
        stages = tuple(stage for part in value["stages"] if (stage := _stage(format, part, where)) is not None)
        return format.convert(value, cls, where, stages=stages)


def _stage(format: Format, value: Any, where: str) -> Stage | None:
    fields = dict(value) if isinstance(value, Mapping) else {}
    name = str(fields.pop("kind", "none"))
    if name in STAGES:
        return format.convert(fields, STAGES[name], where)
    if format.unknown is Unknown.REFUSED:
        format.refuse(iter([f"stage {name}"]), where)
    return None


def plan(model: str, candidate: str, desired: Desired, config: RolloutConfig) -> Plan:
    """The plan that makes release `candidate` (a digest) active; without stages when it is already."""
    if desired.active is not None and desired.active_release == candidate:
        return Plan(model, candidate, desired.active, candidate, desired.active, ())
    if desired.active is None:
        stages: Sequence[Stage] = [Staging(Slot.BLUE, candidate, config.ready_seconds), Switching(Slot.BLUE), Finishing()]
        return Plan(model, candidate, Slot.BLUE, None, None, tuple(stages))
    slot = desired.active.other
    stages = [Staging(slot, candidate, config.ready_seconds), *config.checks, Switching(slot)]
    stages += [config.bake] if config.bake else []
    stages += [Finishing(), Retiring(desired.active, config.keep_previous_seconds)]
    keep = config.keep_preview_when_frozen
    return Plan(model, candidate, slot, desired.active_release, desired.active, tuple(stages), keep)


def plan_rollback(model: str, to: str, desired: Desired, config: RolloutConfig) -> Plan:
    """The plan of a person's order to go back to release `to`: nothing is asked of it but to be ready."""
    if desired.active is None:
        raise Conflict(f"rolling back model {model}: no release of it is active; start one with 'tidegate rollout'")
    if desired.active_release == to:
        return Plan(model, to, desired.active, to, desired.active, ())
    slot = desired.active.other
    stages = (Staging(slot, to, config.ready_seconds), Switching(slot), Finishing(), Retiring(desired.active))
    return Plan(model, to, slot, desired.active_release, desired.active, stages)
