"""A target, gates and releases for tests of rollouts: everything wanted comes about at once, unless told otherwise."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from tidegate.domain.errors import Conflict, Unavailable
from tidegate.domain.release import Lineage, ReleaseManifest
from tidegate.domain.slots import Desired, Slot
from tidegate.domain.verdict import Evidence, GateResult, Verdict
from tidegate.ports.gates import GateContext
from tidegate.ports.traffic import SlotStatus, SlotTraffic
from tidegate.rollout.evaluation import evaluate
from tidegate.rollout.plan import Bake, Check, RolloutConfig
from tidegate.rollout.wanted import check_transition

CONFIG = RolloutConfig((Check("parity"), Check("shadow", min_seconds=5.0), Check("drift", on_fail="freeze")), Bake(("bake",)))


def manifest(version: str, model: str = "demand") -> ReleaseManifest:
    lineage = Lineage("data", "features", "code", "pipeline", f"run-{version}", "2011-01-01T00:00:00")
    return ReleaseManifest(model, version, "demand", "schema", lineage)


class Clock:
    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@dataclass
class FakeTarget:
    """`ready` says of a release whether its replicas become ready; `away` makes every look fail; `stuck` keeps the route."""

    ready: Callable[[str], bool] = lambda release: True
    away: bool = False
    stuck: bool = False
    problems: dict[str, str] = field(default_factory=dict)  # by release: why it cannot start
    wants: dict[str, Desired] = field(default_factory=dict)
    route: dict[str, tuple[Slot | None, bool]] = field(default_factory=dict)
    served: list[str] = field(default_factory=list)  # releases that got live traffic, in order

    def _look(self) -> None:
        if self.away:
            raise Unavailable("the target is away")

    def desired(self, model: str) -> Desired:
        return self.wants.get(model, Desired(model=model))

    def set_desired(self, desired: Desired, expected_generation: int) -> Desired:
        self._look()
        old = self.desired(desired.model)
        if old.generation != expected_generation:
            raise Conflict("another generation")
        check_transition(old, desired)
        new = self.wants[desired.model] = replace(desired, generation=old.generation + 1)
        self._follow(new)
        return new

    def _follow(self, desired: Desired) -> None:
        """The proxy takes up what is wanted."""
        if not self.stuck:
            self.route[desired.model] = (desired.active, desired.mirror)
            if desired.active_release and (not self.served or self.served[-1] != desired.active_release):
                self.served.append(desired.active_release)

    def slots(self, model: str) -> Mapping[Slot, SlotStatus]:
        self._look()
        desired = self.desired(model)
        found = {}
        for slot in Slot:
            release = desired.release_of(slot)
            wanted = 2 if release else 0
            ready = wanted if release and self.ready(release) else 0
            found[slot] = SlotStatus(slot, release, wanted, ready, self.problems.get(release or "", ""))
        return found

    def routed(self, model: str) -> tuple[Slot | None, bool]:
        self._look()
        self._follow(self.desired(model))
        return self.route.get(model, (None, False))

    def traffic(self, model: str) -> Mapping[Slot, SlotTraffic]:
        self._look()
        return {slot: SlotTraffic(0, 0, 0, {}) for slot in Slot}


class FakeGate:
    """Answers what it is told, again and again."""

    def __init__(self, name: str, verdict: Verdict = Verdict.PASS, kind: str = "") -> None:
        self.name, self.verdict, self.kind = name, verdict, kind
        self.error: Exception | None = None
        self.contexts: list[GateContext] = []

    def evaluate(self, context: GateContext) -> GateResult:
        self.contexts.append(context)
        if self.error is not None:
            raise self.error
        evidence = Evidence(
            f"{self.name} says {self.verdict}", sample_size=10, numbers={"kind": self.kind} if self.kind else {}
        )
        return GateResult(self.name, context.candidate.id, self.verdict, evidence)


class InlineEvaluations:
    """Each poll evaluates at once; gates in `stuck` never answer, for `clock` minus their first poll."""

    def __init__(self, gates: Mapping[str, FakeGate], clock: Clock) -> None:
        self.gates, self.clock = gates, clock
        self.stuck: set[str] = set()
        self.since: dict[str, float] = {}

    def poll(self, gate: str, context: GateContext, interval: float) -> GateResult | None:
        if gate in self.stuck:
            self.since.setdefault(gate, self.clock())
            return None
        return evaluate(lambda name, about: self.gates[name].evaluate(about), gate, context)

    def running_seconds(self, gate: str, context: GateContext) -> float:
        return self.clock() - self.since[gate] if gate in self.since else 0.0


class Releases:
    def __init__(self, *manifests: ReleaseManifest, root: Path = Path("releases")) -> None:
        self.known, self.root = {each.digest: each for each in manifests}, root

    def __call__(self, digest: str) -> tuple[ReleaseManifest, Path]:
        return self.known[digest], self.root / digest
