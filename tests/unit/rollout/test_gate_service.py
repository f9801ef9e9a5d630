"""The gate service lets a cluster go on for a PASS alone, and records what it said before it says it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fakes import rollouts as fakes
from fakes.cluster import FakeCluster
from tidegate.domain.errors import Conflict, NotFound, Unavailable
from tidegate.domain.verdict import Verdict
from tidegate.ledger.memory import MemoryLedger
from tidegate.rollout.cluster.gate_service import GateService
from tidegate.rollout.plan import Bake, Check, RolloutConfig

LIVE, NEXT, OTHER = (fakes.manifest(str(n)) for n in (1, 2, 3))
ORDER = {"actor": "ada", "reason": "known", "at": 1.0}


class Cluster:
    """Release NEXT is judged while LIVE is live; gates pass."""

    def __init__(self) -> None:
        self.clock = fakes.Clock()
        self.gates = {name: fakes.FakeGate(name) for name in ("parity", "shadow", "drift", "bake")}
        self.rollouts = FakeCluster()
        self.mirrored = True
        self.rollouts.judges("demand", NEXT.digest, LIVE.digest, self.clock.now, ("parity", "shadow", "drift"))
        self.evaluations = fakes.InlineEvaluations(self.gates, self.clock)
        self.ledger = MemoryLedger(self.clock)
        self.plan = RolloutConfig((Check("parity"), Check("shadow"), Check("drift", on_fail="freeze")), Bake(("bake",)))
        self.restart()

    def restart(self) -> None:
        self.service = GateService(
            self.rollouts,
            fakes.Releases(LIVE, NEXT, OTHER),
            lambda manifest, folder: self.plan,
            lambda model: self.evaluations,
            self.ledger,
            lambda model: self.mirrored,
            self.clock,
        )

    def ask(self, gate: str) -> int | None:
        return self.service.answer("demand", NEXT.digest, gate).sample

    def switch(self) -> None:
        self.rollouts.change("demand", live=NEXT.digest, asked=("bake",))

    def actions(self) -> list[str]:
        return [entry.action for entry in self.ledger.entries()]


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.mark.parametrize(
    ("verdict", "sample"), [(Verdict.PASS, 1), (Verdict.FAIL, 0), (Verdict.ERROR, -1), (Verdict.INCONCLUSIVE, None)]
)
def test_a_verdict_is_one_sample_and_an_open_one_is_none(cluster: Cluster, verdict: Verdict, sample: int | None) -> None:
    cluster.gates["parity"].verdict = verdict
    assert cluster.ask("parity") == sample
    assert cluster.actions() == ([] if sample is None else ["verdict"])


def test_a_gate_sees_the_candidate_beside_what_is_live_since_the_stage_began(cluster: Cluster) -> None:
    cluster.ask("shadow")
    context = cluster.gates["shadow"].contexts[0]
    assert (context.candidate, context.active, context.since) == (NEXT, LIVE, cluster.clock.now)


def test_a_release_is_compared_with_what_clients_reach_and_not_with_what_would_be_gone_back_to(cluster: Cluster) -> None:
    cluster.rollouts.change("demand", previous=NEXT.digest)
    cluster.ask("shadow")
    assert cluster.gates["shadow"].contexts[0].active == LIVE


def test_only_traffic_after_all_of_it_is_mirrored_counts(cluster: Cluster) -> None:
    cluster.mirrored = False
    assert cluster.ask("shadow") is None
    assert not cluster.gates["shadow"].contexts
    cluster.clock.now += 7
    cluster.mirrored = True
    assert cluster.ask("shadow") == 1
    cluster.mirrored = False  # a pod of the gateway that is new
    assert cluster.ask("parity") == 1
    assert {gate.contexts[0].since for gate in (cluster.gates["shadow"], cluster.gates["parity"])} == {cluster.clock.now}


def test_mirroring_that_never_comes_about_is_an_error(cluster: Cluster) -> None:
    cluster.mirrored = False
    cluster.clock.now += 120
    answer = cluster.service.answer("demand", NEXT.digest, "shadow")
    assert answer.sample == -1
    assert "mirroring was not confirmed" in answer.reason


def test_a_verdict_that_was_reached_stays_and_is_recorded_once(cluster: Cluster) -> None:
    assert cluster.ask("parity") == 1
    cluster.gates["parity"].verdict = Verdict.FAIL
    assert cluster.ask("parity") == 1
    assert cluster.actions() == ["verdict"]


def test_a_gate_that_raises_is_an_error(cluster: Cluster) -> None:
    cluster.gates["parity"].error = RuntimeError("broken")
    assert cluster.ask("parity") == -1


def test_an_evaluation_that_has_not_ended_is_open_until_the_deadline_and_then_an_error(cluster: Cluster) -> None:
    cluster.evaluations.stuck.add("parity")
    assert cluster.ask("parity") is None
    cluster.clock.now += 119
    assert cluster.ask("parity") is None
    cluster.clock.now += 1
    assert cluster.ask("parity") == -1
    assert cluster.actions() == ["verdict"]


def test_a_stuck_bake_is_an_error(cluster: Cluster) -> None:
    cluster.switch()
    cluster.evaluations.stuck.add("bake")
    assert cluster.ask("bake") is None
    cluster.clock.now += 11
    assert cluster.ask("bake") == -1


def test_a_check_that_passes_too_early_is_open(cluster: Cluster) -> None:
    cluster.plan = RolloutConfig((Check("parity", min_seconds=5),), None)
    assert cluster.ask("parity") is None
    cluster.clock.now += 5
    assert cluster.ask("parity") == 1


def test_gates_speak_at_their_stage_only(cluster: Cluster) -> None:
    assert cluster.ask("bake") is None
    cluster.switch()
    assert cluster.ask("parity") is None
    assert cluster.ask("bake") is None  # it has not baked long enough
    cluster.clock.now += 12
    assert cluster.ask("bake") == 1
    cluster.rollouts.change("demand", judged_since=None)
    assert cluster.ask("bake") is None


@pytest.mark.parametrize(
    ("model", "release", "gate", "error"),
    [
        ("returns", NEXT, "parity", NotFound),
        ("demand", NEXT, "taste", NotFound),
        ("demand", OTHER, "parity", Conflict),
        ("demand", LIVE, "parity", Conflict),
    ],
)
def test_what_is_not_under_way_has_no_verdict(
    cluster: Cluster, model: str, release: fakes.ReleaseManifest, gate: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        cluster.service.answer(model, release.digest, gate)


def test_a_cluster_that_does_not_answer_gives_no_verdict(cluster: Cluster) -> None:
    cluster.rollouts.away = True
    with pytest.raises(Unavailable):
        cluster.ask("parity")


def test_a_ledger_that_cannot_be_written_gives_no_verdict(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise Unavailable("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(cluster.ledger, "append", full)
        with pytest.raises(Unavailable):
            cluster.ask("parity")
    assert cluster.ask("parity") == 1
    assert cluster.actions() == ["verdict"]


def test_a_freeze_holds_what_passes_and_hides_no_harm(cluster: Cluster) -> None:
    cluster.rollouts.change("demand", hold=ORDER)
    answer = cluster.service.answer("demand", NEXT.digest, "parity")
    assert (answer.sample, answer.reason) == (None, "model demand is frozen by ada: known")
    cluster.gates["shadow"].verdict = Verdict.FAIL
    assert cluster.ask("shadow") == 0
    cluster.rollouts.change("demand", hold=None)
    assert cluster.ask("parity") == 1


def test_a_deadline_does_not_come_while_people_hold_it_up_nor_at_once_when_they_let_go(cluster: Cluster) -> None:
    cluster.gates["parity"].verdict = Verdict.INCONCLUSIVE
    assert cluster.ask("parity") is None
    orders = [{"order": "freeze", "at": cluster.clock.now + 20.0}]
    cluster.rollouts.change("demand", hold=ORDER, orders=tuple(orders))
    cluster.clock.now += 100_000
    assert cluster.ask("parity") is None
    orders.append({"order": "unfreeze", "at": cluster.clock.now})
    cluster.rollouts.change("demand", hold=None, orders=tuple(orders))
    deadline = cluster.plan.checks[0].deadline_seconds
    cluster.clock.now += deadline - 21
    assert cluster.ask("parity") is None
    cluster.clock.now += 1
    assert cluster.ask("parity") == -1


def test_a_person_overrides_a_check_and_never_the_bake(cluster: Cluster) -> None:
    cluster.gates["drift"].verdict = cluster.gates["bake"].verdict = Verdict.FAIL
    cluster.rollouts.change("demand", overrides={"drift": ORDER, "bake": ORDER})
    assert cluster.ask("drift") == 1
    entry = next(iter(cluster.ledger.entries()))
    assert (entry.action, entry.actor, entry.subject) == ("override.used", "ada", NEXT.id)
    cluster.switch()
    assert cluster.ask("bake") == 0


def test_drift_asks_for_retraining_and_a_fault_does_not(cluster: Cluster) -> None:
    cluster.gates["drift"].verdict = Verdict.FAIL
    assert cluster.ask("drift") == 0
    assert cluster.actions() == ["retraining.asked", "verdict"]
    fault = Cluster()
    fault.gates["drift"] = fakes.FakeGate("drift", Verdict.FAIL, kind="fault")
    fault.evaluations.gates = fault.gates
    assert fault.ask("drift") == 0
    assert fault.actions() == ["verdict"]


def test_another_attempt_is_judged_anew(cluster: Cluster) -> None:
    cluster.gates["parity"].verdict = Verdict.FAIL
    assert cluster.ask("parity") == 0
    cluster.gates["parity"].verdict = Verdict.PASS
    cluster.clock.now += 60
    cluster.rollouts.change("demand", judged_since=cluster.clock.now)
    assert cluster.ask("parity") == 1


@pytest.mark.parametrize(("reached", "sample"), [(Verdict.PASS, 1), (Verdict.FAIL, 0), (Verdict.ERROR, -1)])
def test_a_verdict_stays_though_the_service_is_started_again(cluster: Cluster, reached: Verdict, sample: int) -> None:
    cluster.gates["parity"].verdict = reached
    before = cluster.service.answer("demand", NEXT.digest, "parity")
    cluster.gates["parity"].verdict = Verdict.PASS if reached is Verdict.FAIL else Verdict.FAIL
    cluster.restart()
    after = cluster.service.answer("demand", NEXT.digest, "parity")
    assert (after.sample, after.reason) == (before.sample, before.reason) == (sample, before.reason)
    assert after.result == before.result
    assert cluster.actions() == ["verdict"]
    cluster.clock.now += 60
    cluster.rollouts.change("demand", judged_since=cluster.clock.now)  # another attempt
    assert cluster.ask("parity") != sample


def test_an_override_stays_used_though_the_service_is_started_again(cluster: Cluster) -> None:
    cluster.rollouts.change("demand", overrides={"drift": ORDER})
    assert cluster.ask("drift") == 1
    cluster.rollouts.change("demand", overrides={})
    cluster.restart()
    assert cluster.ask("drift") == 1
    assert cluster.actions() == ["override.used"]


def test_a_service_that_dies_before_the_verdict_is_recorded_asks_for_retraining_all_the_same(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.gates["drift"].verdict = Verdict.FAIL
    append = cluster.ledger.append

    def dies(action: str, *about: Any) -> object:
        if action == "verdict":
            raise Unavailable("killed")
        return append(action, *about)

    with monkeypatch.context() as patched:
        patched.setattr(cluster.ledger, "append", dies)
        with pytest.raises(Unavailable):
            cluster.ask("drift")
    assert cluster.actions() == ["retraining.asked"]


@pytest.mark.parametrize("asked", [(), ("parity",), ("parity", "shadow"), ("bake",)])
def test_an_analysis_that_asks_for_fewer_gates_than_the_plan_has_gets_an_error_from_each(
    cluster: Cluster, asked: tuple[str, ...]
) -> None:
    cluster.rollouts.change("demand", asked=asked)
    answer = cluster.service.answer("demand", NEXT.digest, "parity")
    assert answer.sample == -1
    assert "the plan of the release also has" in answer.reason
    assert "drift" in answer.reason
    assert cluster.actions() == ["verdict"]
    cluster.rollouts.change("demand", asked=("parity", "shadow", "drift"))
    assert cluster.ask("parity") == -1  # the rollout has to begin anew


def test_a_bake_that_is_not_asked_for_whole_is_an_error(cluster: Cluster) -> None:
    cluster.plan = RolloutConfig(cluster.plan.checks, Bake(("bake", "cost")))
    cluster.switch()
    answer = cluster.service.answer("demand", NEXT.digest, "bake")
    assert answer.sample == -1
    assert "also has cost" in answer.reason


def test_a_gate_that_is_overridden_must_be_asked_for_all_the_same(cluster: Cluster) -> None:
    cluster.rollouts.change("demand", asked=("parity",), overrides={"parity": {**ORDER, "release": NEXT.digest}})
    assert cluster.ask("parity") == -1


def test_while_the_ledger_does_not_verify_every_gate_is_an_error_decided_ones_too(cluster: Cluster) -> None:
    assert cluster.ask("parity") == 1
    entries = cluster.ledger._entries
    kept = entries[0]
    entries[0] = replace(kept, actor="eve")
    assert [cluster.ask("parity"), cluster.ask("shadow")] == [-1, -1]
    assert "the ledger does not verify" in cluster.service.answer("demand", NEXT.digest, "parity").reason
    entries[0] = kept
    assert [cluster.ask("parity"), cluster.ask("shadow")] == [1, 1]
