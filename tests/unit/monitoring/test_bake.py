"""The bake gate and the e-process under it: bounded false rollbacks, quick detection."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from release_fixture import FakeTarget, Stage, stage

from tidegate.domain.slots import Slot
from tidegate.domain.verdict import GateResult, Verdict
from tidegate.monitoring.bake import BakeGate, growth
from tidegate.monitoring.eprocess import crossed, log_evidence
from tidegate.ports.traffic import SlotTraffic


def traffic(requests: int, errors: int = 0, slow: int = 0) -> SlotTraffic:
    return SlotTraffic(requests, errors, 0, {100.0: requests - slow, 250.0: requests - slow, math.inf: requests})


class Bake:
    def __init__(self, here: Stage) -> None:
        self.target = FakeTarget()
        self.time = here.context.since
        self.gate = BakeGate(self.target, clock=lambda: self.time)
        self.context = here.context

    def look(self, now: SlotTraffic | None, seconds: float = 60.0) -> GateResult:
        self.target.now, self.time = now, self.context.since + seconds
        return self.gate.evaluate(self.context)


@pytest.fixture
def bake(tmp_path: Path) -> Bake:
    return Bake(stage(tmp_path))


def test_passes_after_enough_time_and_requests(bake: Bake) -> None:
    assert bake.look(traffic(1000), 0).verdict is Verdict.INCONCLUSIVE  # counted from here
    assert bake.look(traffic(1399)).verdict is Verdict.INCONCLUSIVE
    assert bake.look(traffic(1500), 5).verdict is Verdict.INCONCLUSIVE
    result = bake.look(traffic(1500, errors=1, slow=2))
    assert result.verdict is Verdict.PASS
    assert result.evidence.numbers["requests"] == 500


def test_all_errors_fail_within_a_handful_of_requests(bake: Bake) -> None:
    bake.look(traffic(0), 0)
    result = bake.look(traffic(3, errors=3), 0.1)
    assert result.verdict is Verdict.FAIL
    assert "error rate is 3 of 3" in result.evidence.summary


def test_slowness_fails(bake: Bake) -> None:
    bake.look(traffic(0), 0)
    result = bake.look(traffic(20, slow=20), 1)
    assert result.verdict is Verdict.FAIL
    assert "slow rate" in result.evidence.summary


def test_counters_that_restart_lose_nothing_that_was_counted(bake: Bake) -> None:
    bake.look(traffic(1000), 0)
    bake.look(traffic(1300))
    result = bake.look(traffic(150))  # the proxy came back and counts from zero
    assert result.verdict is Verdict.PASS
    assert result.evidence.numbers["requests"] == 450


def test_no_data_nan_or_traffic_elsewhere_never_pass(bake: Bake) -> None:
    assert bake.look(None).verdict is Verdict.INCONCLUSIVE
    assert bake.look(traffic(0)).verdict is Verdict.INCONCLUSIVE
    untimed = SlotTraffic(900, 0, 0, {})
    assert bake.look(untimed).verdict is Verdict.INCONCLUSIVE
    assert bake.look(replace(untimed, completed=math.nan)).verdict is Verdict.ERROR  # type: ignore[arg-type]
    assert bake.look(SlotTraffic(900, 0, 0, {100.0: 900})).verdict is Verdict.ERROR  # no bucket reaches the SLO
    bake.target.route = Slot.BLUE
    bake.look(traffic(0), 0)
    assert bake.look(traffic(9000)).verdict is Verdict.INCONCLUSIVE


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), max_size=20))
def test_growth_adds_up_over_any_looks(steps: list[tuple[int, int]]) -> None:
    requests, errors = 0, 0
    seen = traffic(0)
    total = [0, 0]
    for more, bad in steps:
        requests, errors = requests + more, errors + min(more, bad)
        now = traffic(requests, errors)
        grown = growth(seen, now, 250.0)
        total = [total[0] + grown.requests, total[1] + grown.errors]
        seen = now
    assert total == [requests, errors]


def simulated(rate: float, rollouts: int, looks: int, batch: int, seed: int) -> np.ndarray:
    """Look at which each simulated rollout was stopped, or -1."""
    rng = np.random.default_rng(seed)
    totals = rng.binomial(batch, rate, (rollouts, looks)).cumsum(axis=1)
    known = {
        (look, count): crossed(batch * (look + 1), count, 0.01, 0.05)
        for look in range(looks)
        for count in np.unique(totals[:, look])
    }
    stopped = np.array([[known[look, count] for look, count in enumerate(row)] for row in totals])
    return np.where(stopped.any(axis=1), stopped.argmax(axis=1), -1)


def test_false_rollbacks_stay_below_alpha_over_many_looks_and_a_doubling_is_caught() -> None:
    false = simulated(0.01, rollouts=2000, looks=60, batch=100, seed=1)
    assert (false >= 0).mean() <= 0.05
    doubled = simulated(0.02, rollouts=500, looks=60, batch=100, seed=2)
    assert (doubled >= 0).mean() >= 0.95
    assert np.median(doubled[doubled >= 0]) < 30


@given(st.integers(0, 200), st.floats(0.001, 0.5))
def test_a_single_wager_cannot_win_on_average(trials: int, allowed: float) -> None:
    """E[e-value] = 1 at the allowed rate, summed exactly over all outcomes."""
    outcomes = np.arange(trials + 1)
    choose = [math.lgamma(trials + 1) - math.lgamma(k + 1) - math.lgamma(trials - k + 1) for k in outcomes]
    logs = [c + k * math.log(allowed) + (trials - k) * math.log1p(-allowed) for c, k in zip(choose, outcomes, strict=True)]
    mean = sum(math.exp(p + log_evidence(trials, int(k), allowed)) for p, k in zip(logs, outcomes, strict=True))
    assert mean == pytest.approx(1.0, abs=1e-6)
