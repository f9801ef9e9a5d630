"""What every rollout keeps to, whoever moves the traffic: the local engine, or Argo Rollouts asking the gate service.

The same plan, gates, orders and ledger on both; the scenarios say what clients were served and what was recorded.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import pytest

from fakes import rollouts as fakes
from fakes.argo import FakeArgo
from fakes.cluster import FakeCluster
from tidegate.domain.actor import Actor
from tidegate.domain.digests import canonical_json
from tidegate.domain.errors import InvalidInput, Unavailable
from tidegate.domain.release import ReleaseManifest
from tidegate.domain.slots import Desired, Slot
from tidegate.domain.verdict import GateResult, Verdict
from tidegate.files.release_folder import MONITOR
from tidegate.gates.evaluator import GateEvaluator
from tidegate.ledger.memory import MemoryLedger
from tidegate.ports.gates import GateContext, Instruments
from tidegate.rollout.cluster.gate_service import GateService
from tidegate.rollout.cluster.watch import ClusterWatch
from tidegate.rollout.engine import Engine
from tidegate.rollout.orders import Orders
from tidegate.rollout.plan import Check, RolloutConfig
from tidegate.rollout.state import RolloutStore, Status

LIVE, NEXT = fakes.manifest("1"), fakes.manifest("2")
MODEL = "demand"
CHECKS = ("parity", "shadow", "drift")


class Harness(Protocol):
    """Release LIVE is live, gates pass; `settle` steps until nothing moves any more, a second each."""

    gates: dict[str, fakes.FakeGate]
    ledger: MemoryLedger

    def start(self, override: str = "") -> None: ...
    def settle(self, seconds: int = 400) -> None: ...
    def freeze(self) -> None: ...
    def unfreeze(self) -> None: ...
    def stick(self, gate: str) -> None: ...
    @property
    def served(self) -> list[str]:
        """Releases that clients reached, one after the other."""
        ...


class Local:
    def __init__(self, folder: Path, config: RolloutConfig = fakes.CONFIG, candidate: ReleaseManifest = NEXT) -> None:
        self.config, self.candidate = config, candidate
        self.clock, self.ledger = fakes.Clock(), MemoryLedger()
        self.gates = {name: fakes.FakeGate(name) for name in (*CHECKS, "bake")}
        self.target, self.store = fakes.FakeTarget(), RolloutStore(folder)
        self.evaluations = fakes.InlineEvaluations(self.gates, self.clock)
        self.target.set_desired(Desired(MODEL, blue=LIVE.digest, active=Slot.BLUE), 0)
        self.orders = Orders(self.store, self.target, self.ledger, Actor("ada"), self.clock)
        source = fakes.Releases(LIVE, candidate, root=folder)
        self.engine = Engine(self.store, self.target, self.ledger, self.evaluations, source, clock=self.clock)
        self.id = ""

    def start(self, override: str = "") -> None:
        rollout = self.orders.start(self.candidate, self.config, {override: "known"} if override else None)
        assert rollout is not None
        self.id = rollout.id

    def settle(self, seconds: int = 400) -> None:
        for _ in range(seconds):
            self.clock.now += 1
            self.engine.step(MODEL, self.id)

    def freeze(self) -> None:
        self.orders.freeze(MODEL, "stocktaking")

    def unfreeze(self) -> None:
        self.orders.unfreeze(MODEL, "it is over")

    def stick(self, gate: str) -> None:
        self.evaluations.stuck.add(gate)

    @property
    def served(self) -> list[str]:
        return self.target.served

    @property
    def status(self) -> Status:
        return self.store.load(MODEL, self.id).status


class OnCluster:
    def __init__(self, folder: Path, config: RolloutConfig = fakes.CONFIG, candidate: ReleaseManifest = NEXT) -> None:
        self.candidate = candidate
        self.clock, self.ledger, self.cluster = fakes.Clock(), MemoryLedger(), FakeCluster()
        self.gates = {name: fakes.FakeGate(name) for name in (*CHECKS, "bake")}
        self.evaluations = fakes.InlineEvaluations(self.gates, self.clock)
        source, plan = fakes.Releases(LIVE, candidate, root=folder), config
        evaluations, mirrored = (lambda _: self.evaluations), (lambda _: True)
        self.service = GateService(self.cluster, source, lambda *_: plan, evaluations, self.ledger, mirrored, self.clock)
        self.watch = ClusterWatch(self.cluster, self.ledger, folder)
        assert plan.bake is not None
        before = tuple(check.gate for check in plan.checks)
        self.argo = FakeArgo(self.cluster, self.service.answer, self.clock, MODEL, before, plan.bake.gates)

    def start(self, override: str = "") -> None:
        self.argo.apply(self.candidate.digest, LIVE.digest)
        if override:
            self.cluster.change(MODEL, overrides={override: {"actor": "ada", "reason": "known", "at": 0.0}})

    def settle(self, seconds: int = 400) -> None:
        for _ in range(seconds):
            self.clock.now += 1
            self.argo.step()
            self.watch.look(MODEL)

    def freeze(self) -> None:
        self.cluster.change(MODEL, hold={"actor": "ada", "reason": "stocktaking", "at": 0.0})

    def unfreeze(self) -> None:
        self.cluster.change(MODEL, hold=None)

    def stick(self, gate: str) -> None:
        self.evaluations.stuck.add(gate)

    @property
    def served(self) -> list[str]:
        return self.argo.served


@pytest.fixture(params=[Local, OnCluster])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Harness:
    made: Harness = request.param(tmp_path)
    return made


def verdicts(engine: Harness) -> dict[str, str]:
    return {e.body["gate"]: e.body["verdict"] for e in engine.ledger.entries() if e.action == "verdict"}


def recorded(engine: Harness) -> dict[str, tuple[str, str]]:
    """By gate the verdict and its words."""
    entries = [e for e in engine.ledger.entries() if e.action == "verdict"]
    return {e.body["gate"]: (e.body["verdict"], e.body["message"]) for e in entries}


def test_a_cluster_that_asks_for_fewer_gates_than_the_plan_has_lets_nobody_in(tmp_path: Path) -> None:
    cluster = OnCluster(tmp_path)
    cluster.argo.before = ("parity",)  # a values file that names fewer
    cluster.start()
    cluster.settle()
    assert cluster.served == [LIVE.digest]
    assert {e.body["gate"]: e.body["verdict"] for e in cluster.ledger.entries() if e.action == "verdict"} == {"parity": "ERROR"}


def test_a_release_that_passes_everything_is_served(engine: Harness) -> None:
    engine.start()
    engine.settle()
    assert engine.served == [LIVE.digest, NEXT.digest]
    assert verdicts(engine) == dict.fromkeys((*CHECKS, "bake"), "PASS")


@pytest.mark.parametrize("gate", CHECKS)
@pytest.mark.parametrize("verdict", [Verdict.FAIL, Verdict.ERROR, Verdict.INCONCLUSIVE])
def test_nothing_but_a_pass_of_every_check_lets_clients_in(engine: Harness, gate: str, verdict: Verdict) -> None:
    engine.gates[gate].verdict = verdict
    engine.start()
    engine.settle()
    assert engine.served == [LIVE.digest]


@pytest.mark.parametrize("gate", CHECKS)
def test_a_check_that_raises_or_never_answers_lets_nobody_in(engine: Harness, gate: str) -> None:
    engine.gates[gate].error = RuntimeError("broken")
    engine.start()
    engine.settle()
    assert engine.served == [LIVE.digest]


@pytest.mark.parametrize("gate", CHECKS)
def test_a_check_that_is_stuck_lets_nobody_in(engine: Harness, gate: str) -> None:
    engine.stick(gate)
    engine.start()
    engine.settle()
    assert engine.served == [LIVE.digest]


@pytest.mark.parametrize("verdict", [Verdict.FAIL, Verdict.ERROR, Verdict.INCONCLUSIVE])
def test_a_bake_that_does_not_pass_goes_back(engine: Harness, verdict: Verdict) -> None:
    engine.gates["bake"].verdict = verdict
    engine.start()
    engine.settle()
    assert engine.served == [LIVE.digest, NEXT.digest, LIVE.digest]


def test_a_bake_that_is_stuck_goes_back(engine: Harness) -> None:
    engine.stick("bake")
    engine.start()
    engine.settle()
    assert engine.served == [LIVE.digest, NEXT.digest, LIVE.digest]


@pytest.mark.parametrize("gate", [*CHECKS, "bake"])
@pytest.mark.parametrize("answers", [True, False])
def test_a_gate_that_does_not_pass_in_time_is_an_error_in_the_same_words(engine: Harness, gate: str, answers: bool) -> None:
    engine.gates[gate].verdict = Verdict.INCONCLUSIVE
    if not answers:
        engine.stick(gate)
    engine.start()
    engine.settle()
    after = [NEXT.digest, LIVE.digest] if gate == "bake" else []
    assert engine.served == [LIVE.digest, *after]
    stage = next((check for check in fakes.CONFIG.checks if check.gate == gate), fakes.CONFIG.bake)
    assert stage is not None
    last = f"{gate} says INCONCLUSIVE" if answers else "it never answered"
    late = f"it did not PASS within {stage.deadline_seconds:g} s: {last}"
    stuck = "it has not answered for 10 s, and what is not watched is not served"
    said = stuck if gate == "bake" and not answers else late
    assert recorded(engine)[gate] == ("ERROR", f"{NEXT.id}: gate '{gate}' ERROR: {said}")


def test_a_freeze_that_outlasts_the_bakes_deadline_takes_nothing_back(engine: Harness) -> None:
    engine.gates["bake"].verdict = Verdict.INCONCLUSIVE
    engine.start()
    engine.settle(30)
    engine.freeze()
    engine.settle()
    assert engine.served == [LIVE.digest, NEXT.digest]
    engine.gates["bake"].verdict = Verdict.PASS
    engine.unfreeze()
    engine.settle()
    assert engine.served == [LIVE.digest, NEXT.digest]
    assert verdicts(engine)["bake"] == "PASS"


@pytest.mark.parametrize(("kind", "requested"), [("", True), ("fault", False)])
def test_drift_requests_retraining_and_a_fault_does_not(engine: Harness, kind: str, requested: bool) -> None:
    engine.gates["drift"].verdict, engine.gates["drift"].kind = Verdict.FAIL, kind
    engine.start()
    engine.settle()
    assert engine.served == [LIVE.digest]
    assert recorded(engine)["drift"] == ("FAIL", f"{NEXT.id}: gate 'drift' FAIL: drift says FAIL")
    asked = [e for e in engine.ledger.entries() if e.action == "retraining.asked" or e.body.get("retraining_requested")]
    assert bool(asked) is requested


def test_a_person_overrides_a_check_by_name_and_it_is_recorded(engine: Harness) -> None:
    engine.gates["drift"].verdict = Verdict.FAIL
    engine.start(override="drift")
    engine.settle()
    assert engine.served == [LIVE.digest, NEXT.digest]
    said = [e for e in engine.ledger.entries() if "known" in str(e.body) and e.actor == "ada"]
    assert said


def test_a_person_cannot_override_the_bake(engine: Harness) -> None:
    engine.gates["bake"].verdict = Verdict.FAIL
    if isinstance(engine, OnCluster):  # an annotation that somebody wrote by hand
        engine.start(override="bake")
    else:
        with pytest.raises(InvalidInput, match="gate 'bake' cannot be overridden"):
            engine.start(override="bake")
        engine.start()
    engine.settle()
    assert engine.served == [LIVE.digest, NEXT.digest, LIVE.digest]


def test_a_freeze_keeps_clients_where_they_are_until_it_is_lifted(engine: Harness) -> None:
    engine.start()
    engine.freeze()
    engine.settle(100)
    assert engine.served == [LIVE.digest]
    engine.unfreeze()
    engine.settle()
    assert engine.served == [LIVE.digest, NEXT.digest]
    assert [e.action for e in engine.ledger.entries() if e.action in ("freeze", "unfreeze")] == ["freeze", "unfreeze"]


def test_a_freeze_during_the_bake_hides_no_harm(engine: Harness) -> None:
    engine.gates["bake"].verdict = Verdict.INCONCLUSIVE
    engine.start()
    engine.settle(30)
    assert engine.served == [LIVE.digest, NEXT.digest]
    engine.freeze()
    engine.settle(5)
    engine.gates["bake"].verdict = Verdict.FAIL
    engine.settle(5)
    assert engine.served == [LIVE.digest, NEXT.digest, LIVE.digest]


def test_a_ledger_that_cannot_be_written_lets_nobody_in(engine: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    engine.start()
    engine.settle(1)

    def full(*_: object, **__: object) -> None:
        raise Unavailable("the disk is full")

    monkeypatch.setattr(engine.ledger, "append", full)
    for _ in range(20):
        try:
            engine.settle(1)
        except Unavailable:
            continue
    assert engine.served == [LIVE.digest]


OWN = """
from dataclasses import dataclass
from tidegate.api.gates import Evidence, Verdict, between

@dataclass(frozen=True)
class Rules:
    most: int = between(0, default=0)

def judge(case, rules):
    {body}
"""


class Own:
    """A gate of the candidate's own code, as an engine of these tests asks for it."""

    def __init__(self, clock: fakes.Clock) -> None:
        instruments = Instruments(None, None, None, None, None, clock)  # type: ignore[arg-type]
        self.gates = GateEvaluator(lambda: instruments, lambda _: None)

    def evaluate(self, context: GateContext) -> GateResult:
        return self.gates("fairness", context)


def with_own_gate(made: type[Local] | type[OnCluster], folder: Path, body: str) -> Local | OnCluster:
    """An engine that rolls a release out whose plan has a gate `fairness` of its own, before the switch."""
    monitor = {
        "schema": 2,
        "slo": {"availability": 0.99, "latency_ms": 250, "latency_share": 0.99},
        "gates": [
            {"name": "fairness", "kind": "./gates/own.py", "stage": "verify", "rules": {"most": 3}},
            {"name": "bake", "kind": "bake", "stage": "bake"},
        ],
        "promotion": {
            "min_rows": 1,
            "beats_baseline": {"margin": 0},
            "no_worse_than_champion": {"margin": 0},
            "segments": {"max_worse": 1, "min_rows": 1},
        },
    }
    files = {MONITOR: canonical_json(monitor), "gates/own.py": OWN.format(body=body).encode()}
    candidate = replace(NEXT, files={name: hashlib.sha256(content).hexdigest() for name, content in files.items()})
    for name, content in files.items():
        (folder / candidate.digest / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / candidate.digest / name).write_bytes(content)
    config = RolloutConfig(
        (Check("fairness", gate_kind="./gates/own.py", deadline_seconds=20), *fakes.CONFIG.checks), fakes.CONFIG.bake
    )
    engine = made(folder, config, candidate)
    engine.gates["fairness"] = Own(engine.clock)  # type: ignore[assignment]
    return engine


@pytest.mark.parametrize("made", [Local, OnCluster])
@pytest.mark.parametrize(
    ("body", "verdict"),
    [
        ("return Verdict.PASS, Evidence('fair', rules.most)", "PASS"),
        ("return Verdict.FAIL, Evidence('unfair to some', rules.most)", "FAIL"),
        ("return Verdict.INCONCLUSIVE, Evidence('nothing seen')", "ERROR"),
        ("raise RuntimeError('broken')", "ERROR"),
        ("return Verdict.PASS, Evidence('fair', 1, {'share': float('nan')})", "ERROR"),
        ("return True", "ERROR"),
    ],
)
def test_a_gate_of_the_releases_own_code_lets_clients_in_by_a_pass_alone(
    made: type[Local] | type[OnCluster], body: str, verdict: str, tmp_path: Path
) -> None:
    engine = with_own_gate(made, tmp_path, body)
    engine.start()
    engine.settle(120)
    assert engine.served == ([LIVE.digest, engine.candidate.digest] if verdict == "PASS" else [LIVE.digest])
    assert verdicts(engine).get("fairness", "ERROR") == verdict
