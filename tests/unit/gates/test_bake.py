"""The bake gate and the e-process under it: bounded false rollbacks, quick detection."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from release_fixture import FakeRecords, FakeTarget, Stage, records, stage, vectors

from tidegate.domain.errors import Unavailable
from tidegate.domain.slots import Slot
from tidegate.domain.verdict import GateResult, Verdict
from tidegate.files.kept_counts import KeptCounts
from tidegate.gates.evaluator import GateEvaluator
from tidegate.gates.kinds.bake import growth
from tidegate.ports.gates import Instruments
from tidegate.ports.traffic import SlotTraffic
from tidegate.statistics.eprocess import crossed, log_evidence


def traffic(requests: int, errors: int = 0, slow: int = 0, refused: int = 0, unavailable: int = 0) -> SlotTraffic:
    """`requests` were answered or failed; those that were `unavailable` come on top, and are not timed."""
    timed = requests + refused
    buckets = {100.0: timed - slow, 250.0: timed - slow, math.inf: timed}
    return SlotTraffic(timed + unavailable, errors + unavailable, 0, buckets, refused, unavailable)


class Target(FakeTarget):
    away: str = ""

    def traffic(self, model: str) -> Mapping[Slot, SlotTraffic]:
        if self.away:
            raise Unavailable(self.away)
        return super().traffic(model)


class Bake:
    def __init__(self, here: Stage, kept: str = "counted") -> None:
        self.here = here
        self.target = Target()
        self.records = FakeRecords()
        self.time = here.context.since
        self.context = here.context
        self.kept = KeptCounts(here.folder.parent / kept)
        self.restart()

    def restart(self) -> None:
        """Forget what only the process that asks knew."""
        instruments = Instruments(self.records, None, None, None, self.target, lambda: self.time)  # type: ignore[arg-type]
        self.gates = GateEvaluator(lambda: instruments, lambda _: None, self.kept)

    def take_over(self, unwatched_seconds: float) -> None:
        """By another process, after nobody looked for a while."""
        self.restart()
        self.context = replace(self.context, unwatched_seconds=self.context.unwatched_seconds + unwatched_seconds)

    def look(self, now: SlotTraffic | None, seconds: float = 60.0) -> GateResult:
        self.target.now, self.time = now, self.context.since + seconds
        return self.gates("bake", self.context)

    def recorded(self, before: Sequence[int], after: Sequence[int], seconds: float = 60.0, route: str = "predict") -> None:
        """Records with these statuses, spread evenly over `seconds` before and after the switch."""
        for release, statuses, start in (
            (self.here.active, before, self.context.since - seconds),
            (self.here.candidate, after, self.context.since),
        ):
            model = records(release, vectors(1, 1), shadow=False)[0]
            self.records.all += [
                replace(model, id=f"{i}", at=start + i * seconds / len(statuses), status=status, route=route)
                for i, status in enumerate(statuses)
            ]


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
    assert "error rate is 3 of 3 predictions" in result.evidence.summary


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


def test_who_takes_over_goes_on_from_what_was_counted(bake: Bake) -> None:
    bake.look(traffic(1000), 0)
    bake.look(traffic(1390, errors=1, slow=2), 58)
    bake.take_over(600)
    assert bake.look(traffic(1395, errors=1, slow=2), 659).verdict is Verdict.INCONCLUSIVE, "395 requests, 59 s watched"
    result = bake.look(traffic(1405, errors=1, slow=2), 660)
    assert result.verdict is Verdict.PASS
    numbers = result.evidence.numbers
    assert (numbers["requests"], numbers["errors"], numbers["slow"], numbers["seconds"]) == (405, 1, 2, 60.0)


@pytest.mark.parametrize("slow", [False, True])
def test_what_failed_while_nobody_looked_is_not_forgiven(bake: Bake, slow: bool) -> None:
    bake.look(traffic(1000), 0)
    bake.look(traffic(1500), 30)
    bake.take_over(300)
    bad = {"slow": 300} if slow else {"errors": 300}
    result = bake.look(traffic(1800, **bad), 331)
    assert result.verdict is Verdict.FAIL, "sound now, and at the last look"
    assert f"{'slow' if slow else 'error'} rate is 300 of 800" in result.evidence.summary


def test_what_failed_before_the_first_look_is_not_forgiven(bake: Bake) -> None:
    bake.context = replace(bake.context, counted_before=traffic(1000))
    assert bake.look(traffic(1020, errors=20), 40).verdict is Verdict.FAIL


def test_a_release_that_was_out_of_reach_while_nobody_looked_has_used_up_that_time(bake: Bake) -> None:
    bake.look(traffic(1000), 0)
    bake.take_over(5)
    assert bake.look(traffic(1010, unavailable=10), 5).verdict is Verdict.INCONCLUSIVE, "5 of 10 s that may be a restart"
    bake.take_over(60)
    result = bake.look(traffic(1020, unavailable=30), 65)
    assert (result.verdict, result.evidence.numbers["not_reached"]) == (Verdict.FAIL, 10)


def test_a_proxy_that_was_restarted_while_nobody_looked_counts_from_zero(bake: Bake) -> None:
    bake.look(traffic(1000), 0)
    bake.look(traffic(1300), 30)
    bake.take_over(3600)
    result = bake.look(traffic(200, unavailable=5), 3690)
    assert result.evidence.numbers["requests"] == 500
    assert result.verdict is Verdict.INCONCLUSIVE, "what was not reached since it is back may be its restart"
    assert bake.look(traffic(300, errors=60, unavailable=5), 3691).verdict is Verdict.FAIL


def test_counts_of_another_stage_or_that_are_damaged_are_none(bake: Bake, caplog: pytest.LogCaptureFixture) -> None:
    bake.look(traffic(1000), 0)
    bake.look(traffic(1500, errors=100), 30)
    before, [file] = bake.context, list((bake.here.folder.parent / "counted").iterdir())
    bake.restart()
    bake.context = replace(before, since=before.since + 1000)
    assert bake.look(traffic(2000, errors=100), 0).evidence.numbers["requests"] == 0
    bake.restart()
    bake.context = replace(before, counted_before=traffic(1000))
    for damage in (b"", b"\x00", b"[]", b'{"schema": 2, "of": [], "counts": {}}'):
        file.write_bytes(damage)
        assert bake.look(traffic(1500, errors=100), 30).verdict is Verdict.FAIL, "the record has the counters at the switch"
        assert "is damaged" in caplog.text or "is empty" in caplog.text
        caplog.clear()
        bake.restart()


def test_counts_that_the_disk_does_not_take_are_kept_in_memory(bake: Bake, caplog: pytest.LogCaptureFixture) -> None:
    folder = bake.here.folder.parent / "counted"
    folder.write_text("no folder")
    bake.look(traffic(1000), 0)
    assert bake.look(traffic(1500)).verdict is Verdict.PASS
    assert "in memory alone" in caplog.text


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
        grown = growth(now.since(seen), 250.0)
        total = [total[0] + grown.taken, total[1] + grown.errors]
        seen = now
    assert total == [requests, errors]


def test_refusals_and_probes_are_no_predictions_and_thin_nothing_out(bake: Bake) -> None:
    bake.look(traffic(0), 0)
    assert bake.look(traffic(0, refused=9000)).verdict is Verdict.INCONCLUSIVE
    result = bake.look(traffic(600, errors=30, refused=9000))
    assert result.verdict is Verdict.FAIL
    assert "error rate is 30 of 600 predictions" in result.evidence.summary
    slow = Bake(bake.here, "others")
    slow.look(traffic(0), 0)
    assert "slow rate is 60 of 600" in slow.look(traffic(600, slow=60, refused=9000)).evidence.summary


def test_a_restart_in_the_bake_is_not_charged_to_the_release(bake: Bake) -> None:
    bake.look(traffic(0), 0)
    bake.look(traffic(400), 10)
    for second in range(5):
        result = bake.look(traffic(400, unavailable=12 * (second + 1)), 12 + second)
        assert result.verdict is Verdict.INCONCLUSIVE
        assert "not reached for" in result.evidence.summary
    assert bake.look(traffic(800, unavailable=60), 28).verdict is Verdict.INCONCLUSIVE
    result = bake.look(traffic(800, unavailable=60), 31)
    assert result.verdict is Verdict.PASS, result.evidence.summary
    assert result.evidence.numbers["not_reached"] == 60


def test_a_bake_that_begins_while_the_replicas_start_waits_for_them(bake: Bake) -> None:
    assert bake.look(traffic(0), 0).verdict is Verdict.INCONCLUSIVE
    assert bake.look(traffic(0, unavailable=12), 0.5).verdict is Verdict.INCONCLUSIVE
    bake.look(traffic(10, unavailable=12), 4)
    assert bake.look(traffic(450, unavailable=12), 13).verdict is Verdict.INCONCLUSIVE
    assert bake.look(traffic(500, unavailable=12), 20).verdict is Verdict.PASS


def test_a_release_whose_replicas_die_of_requests_fails_when_that_lasts(bake: Bake) -> None:
    """Each crash makes the slot unreachable for a moment; between two of them it answers well."""
    bake.look(traffic(0), 0)
    verdicts = [bake.look(traffic(40 * second, unavailable=10 * (second // 3)), second).verdict for second in range(1, 40)]
    assert Verdict.FAIL in verdicts
    assert Verdict.PASS not in verdicts[: verdicts.index(Verdict.FAIL)]


def test_a_release_that_nobody_reaches_at_all_fails_after_the_allowance(bake: Bake) -> None:
    bake.look(traffic(0), 0)
    verdicts = {s: bake.look(traffic(0, unavailable=10 * s), s).verdict for s in range(1, 14)}
    assert verdicts[9] is Verdict.INCONCLUSIVE
    assert verdicts[13] is Verdict.FAIL


def test_a_proxy_that_cannot_be_asked_for_a_moment_is_inconclusive_and_for_long_an_error(bake: Bake) -> None:
    bake.target.away = "Envoy does not answer"
    assert bake.look(traffic(0), 0).verdict is Verdict.INCONCLUSIVE
    assert bake.look(traffic(0), 3).verdict is Verdict.INCONCLUSIVE
    bake.target.away = ""
    bake.look(traffic(0), 4)
    bake.look(traffic(10), 7)
    assert bake.look(traffic(500), 20).verdict is Verdict.PASS
    bake.target.away = "Envoy does not answer"
    looks = [bake.look(traffic(0), 21 + s).verdict for s in range(12)]
    assert looks[0] is Verdict.INCONCLUSIVE
    assert looks[-1] is Verdict.ERROR


def test_a_release_that_refuses_in_the_place_of_answers_fails(bake: Bake) -> None:
    bake.recorded([200] * 2950 + [404] * 50, ([200, 200, 422] * 1000))
    bake.look(traffic(0), 0)
    result = bake.look(traffic(2000, refused=1000))
    assert result.verdict is Verdict.FAIL
    assert "refusals on route predict: " in result.evidence.summary
    assert "predictions were refused, 50 of 2" in result.evidence.summary
    assert "status 422, first ids 2, 5, 8), in the place of answers" in result.evidence.summary


def test_a_client_that_begins_to_send_bad_requests_does_not_roll_a_sound_release_back(bake: Bake) -> None:
    bake.recorded([200] * 3000, [200, 422] * 3000)
    bake.look(traffic(0), 0)
    result = bake.look(traffic(3000, refused=3000))
    assert result.verdict is Verdict.PASS, result.evidence.summary
    assert any("clients send them" in f.note for f in result.evidence.findings)


def test_a_share_of_refusals_as_before_says_nothing_and_one_that_is_open_does_not_pass(bake: Bake) -> None:
    bake.recorded([200, 200, 200, 404] * 750, [200, 200, 200, 404] * 750)
    bake.look(traffic(0), 0)
    assert bake.look(traffic(2250, refused=750)).verdict is Verdict.PASS
    open_ = Bake(bake.here, "others")
    open_.recorded([200] * 1000, ([200] * 24 + [422] * 2) * 38)
    open_.look(traffic(0), 0)
    result = open_.look(traffic(900, refused=80))
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "whether in the place of answers is open" in result.evidence.summary


def test_routes_are_compared_each_with_itself(bake: Bake) -> None:
    bake.recorded([400] * 400, [400] * 400, route="infer")
    bake.recorded([200] * 3000, [200] * 2000 + [422] * 1000, route="predict")
    bake.look(traffic(0), 0)
    result = bake.look(traffic(2000, refused=1400))
    assert result.verdict is Verdict.FAIL
    assert "infer" not in result.evidence.summary


def test_a_log_that_cannot_be_read_neither_fails_nor_passes_a_release(bake: Bake) -> None:
    def away(*_: object, **__: object) -> list[object]:
        raise Unavailable("Redis cannot be read")

    bake.records.heads = away  # type: ignore[method-assign, assignment]
    bake.look(traffic(0), 0)
    result = bake.look(traffic(1000))
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "Redis cannot be read" in result.evidence.summary


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
