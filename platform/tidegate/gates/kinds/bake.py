"""Gate: live traffic on the candidate after the switch, judged by anytime-valid evidence at every look.

It counts predictions alone, from the proxy's counters: what grew since the switch (counters that fell were restarted with the
proxy, and then count from zero). Errors and slow answers are weighed among the requests that the release took on, so
refusals, which a client can ask for at no cost, thin out neither. A release that cannot be reached for some seconds may be
restarting: that is INCONCLUSIVE, and counts once it lasts. Refusals are compared by route with those of the release before
(`refusals`). The three tests share alpha. What was counted outlives whoever asks (`Case.kept`), and the gateway goes on
counting while nobody does: who takes over goes on from what was counted, and requests in between count, good or bad. The time
in between is not time in which the release was watched.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tidegate.domain.errors import InvalidInput, Unavailable
from tidegate.domain.rules import between
from tidegate.domain.verdict import Evidence, Finding, Number, Verdict
from tidegate.gates.reach import Reach
from tidegate.gates.refusals import Refusals, RefusalWatch
from tidegate.ports.gates import Case, GateStage
from tidegate.ports.traffic import SlotTraffic
from tidegate.statistics.eprocess import log_evidence

TESTS = 3
COUNTED = "bake"
STAGES = (GateStage.BAKE,)


@dataclass(frozen=True)
class Rules:
    min_requests: int = between(1, default=400)
    alpha: float = between(1e-6, 0.5, 0.02)
    allowed_error_rate: float = between(1e-6, 0.5, 0.005)
    allowed_slow_rate: float = between(1e-6, 0.5, 0.02)
    allowed_refusal_increase: float = between(1e-6, 0.5, 0.01)
    unreachable_seconds: float = between(0, default=10.0)


@dataclass(frozen=True)
class Tally:
    """Sums since the first look. `taken` requests were answered or failed, `timed` of them have a latency, of which `slow` are
    above the bound `bound_ms`; `forgiven` could not be reached, for no longer than is allowed."""

    taken: int = 0
    errors: int = 0
    refused: int = 0
    forgiven: int = 0
    timed: int = 0
    slow: int = 0
    bound_ms: float = math.nan

    @property
    def answered(self) -> int:
        return self.taken - self.errors

    def plus(self, more: Tally) -> Tally:
        return Tally(
            self.taken + more.taken,
            self.errors + more.errors,
            self.refused + more.refused,
            self.forgiven + more.forgiven,
            self.timed + more.timed,
            self.slow + more.slow,
            more.bound_ms,
        )


@dataclass
class _Watched:
    """What was seen of one switch so far."""

    reach: Reach
    refusals: RefusalWatch
    traffic: SlotTraffic | None = None
    tally: Tally = field(default_factory=Tally)
    taken_over: bool = False  # the last look was another process'


def judge(case: Case, rules: Rules) -> tuple[Verdict, Evidence]:
    seen = _watched(case, rules)
    judged = _judge(case, rules, seen)
    case.kept[COUNTED] = {
        "reach": seen.reach.to_json(),
        "traffic": seen.traffic.to_json() if seen.traffic else None,
        "tally": {**vars(seen.tally), "bound_ms": None},
    }
    return judged


def _judge(case: Case, rules: Rules, seen: _Watched) -> tuple[Verdict, Evidence]:
    now = case.now
    try:
        traffic = case.instruments.traffic.traffic(case.model).get(case.candidate_slot)
        routed, _ = case.instruments.traffic.routed(case.model)
    except Unavailable as error:
        seen.reach.look(now, failed=True)
        if not seen.reach.forgiven:
            raise
        return Verdict.INCONCLUSIVE, Evidence(f"{error}; {_waiting(seen.reach)}", seen.tally.answered)
    if traffic is None:
        return Verdict.INCONCLUSIVE, Evidence(f"no counters of slot {case.candidate_slot} yet")
    _count(seen, traffic, case.counted_before, case.slo.latency_ms, now)
    try:
        refusals = seen.refusals.look(now, rules.allowed_refusal_increase, math.log(TESTS / rules.alpha))
    except Unavailable as error:  # the log's fault and not the release's: it does not fail, and does not pass
        refusals = Refusals(open_question=str(error))
    verdict, evidence = weigh(seen.tally, case.watched_seconds, case.min_seconds, rules, refusals)
    if verdict is not Verdict.PASS:
        return verdict, evidence
    if seen.reach.quiet_seconds(now) < case.min_seconds:  # a release that is lost again and again is at no time sound
        return Verdict.INCONCLUSIVE, replace(evidence, summary=f"{evidence.summary}; {_waiting(seen.reach)}")
    if routed is not case.candidate_slot:
        where = f"slot {routed}" if routed else "no slot"
        return Verdict.INCONCLUSIVE, Evidence(
            f"live traffic goes to {where}, not to {case.candidate_slot}", seen.tally.answered
        )
    return verdict, evidence


def _watched(case: Case, rules: Rules) -> _Watched:
    if "watched" not in case.memory:
        before = case.active.digest if case.active else None
        refusals = RefusalWatch(case.instruments.records, before, case.candidate.digest, case.since)
        case.memory["watched"] = _resumed(case.kept.get(COUNTED), Reach(rules.unreachable_seconds), refusals)
    found: _Watched = case.memory["watched"]
    return found


def _resumed(kept: Mapping[str, Any] | None, reach: Reach, refusals: RefusalWatch) -> _Watched:
    if kept is None:
        return _Watched(reach, refusals)
    traffic = SlotTraffic.from_json(kept["traffic"]) if kept["traffic"] else None
    tally = Tally(**{**kept["tally"], "bound_ms": math.nan})
    return _Watched(Reach.from_json(reach.allowance, kept["reach"]), refusals, traffic, tally, taken_over=True)


def _count(seen: _Watched, traffic: SlotTraffic, at_first: SlotTraffic | None, latency_ms: float, now: float) -> None:
    before = seen.traffic or at_first or traffic
    grown, restarted = traffic.since(before), traffic.restarted_after(before)
    seen.traffic = traffic
    seen.reach.look(now, failed=grown.unavailable > 0, unwatched=seen.taken_over and not restarted)
    seen.taken_over = False
    seen.tally = seen.tally.plus(growth(grown, latency_ms, seen.reach.forgiven))


def _waiting(reach: Reach) -> str:
    return f"not reached for {reach.spent:.1f} s so far, of which {reach.allowance:g} s are not charged to it"


def growth(grown: SlotTraffic, latency_ms: float, forgiving: bool = False) -> Tally:
    """Counts between two looks. An answer is slow above the smallest bucket bound that is not below `latency_ms`."""
    if not (math.isfinite(grown.completed) and math.isfinite(grown.errors_5xx)):
        counted = f"{grown.completed} completed, {grown.errors_5xx} errors"
        raise InvalidInput(f"bake: the proxy's counters are not numbers: {counted}")
    forgiven = min(grown.unavailable, grown.errors_5xx) if forgiving else 0
    taken = max(0, grown.completed - grown.refused_4xx - forgiven)
    counts = Tally(taken, min(grown.errors_5xx - forgiven, taken), grown.refused_4xx, forgiven)
    if not grown.latency_buckets_ms:
        return counts
    bounds = sorted(bound for bound in grown.latency_buckets_ms if bound >= latency_ms)
    if not bounds:
        raise InvalidInput(
            f"bake: no latency bucket of the proxy reaches the SLO of {latency_ms:g} ms; add one to its settings"
        )
    buckets = grown.latency_buckets_ms
    timed = max(0, buckets[max(buckets)])  # a histogram is flushed apart from the counters, so it has its own total
    slow = min(timed, max(0, timed - buckets[bounds[0]]))
    return replace(counts, timed=timed, slow=slow, bound_ms=bounds[0])


def weigh(
    tally: Tally,
    seconds: float,
    min_seconds: float,
    rules: Rules,
    refusals: Refusals = Refusals(),  # noqa: B008 (a frozen value)
) -> tuple[Verdict, Evidence]:
    """FAIL as soon as the evidence is there; PASS only after the minimum of time and of answers, with their latencies."""
    limit = math.log(TESTS / rules.alpha)
    timed = max(tally.slow, tally.timed - tally.refused)  # refusals are quick
    bad = {
        "error rate": (tally.taken, tally.errors, rules.allowed_error_rate),
        "slow rate": (timed, tally.slow, rules.allowed_slow_rate),
    }
    evidence = {name: log_evidence(*counts) for name, counts in bad.items()}
    findings = [
        Finding(
            name,
            count / total if total else None,
            f"at most {allowed:.3g}",
            evidence[name] < limit,
            f"{count} of {total} predictions",
        )
        for name, (total, count, allowed) in bad.items()
    ]
    numbers: dict[str, Number | str | None] = {
        "requests": tally.taken,
        "answered": tally.answered,
        "errors": tally.errors,
        "slow": tally.slow,
        "refused": tally.refused,
        "not_reached": tally.forgiven,
        "seconds": round(seconds, 3),
        "log_e_errors": evidence["error rate"],
        "log_e_slow": evidence["slow rate"],
    }
    thresholds = {"log_e": limit, "min_requests": rules.min_requests, "min_seconds": min_seconds, "alpha": rules.alpha}

    def outcome(verdict: Verdict, summary: str) -> tuple[Verdict, Evidence]:
        return verdict, Evidence(summary, tally.answered, numbers, thresholds, (*findings, *refusals.findings))

    for name, (total, count, allowed) in bad.items():
        if evidence[name] >= limit:
            said = f"{name} is {count} of {total} predictions, allowed {allowed:.2%}; evidence e^{evidence[name]:.1f}"
            return outcome(Verdict.FAIL, said)
    if refusals.harm:
        return outcome(Verdict.FAIL, refusals.harm)
    seen = (
        f"{tally.answered} predictions ({timed} timed) in {seconds:.0f} s, {tally.errors} errors, {tally.slow} slow, "
        f"{tally.refused} refused, {tally.forgiven} not reached"
    )
    if min(tally.answered, timed) < rules.min_requests or seconds < min_seconds:
        return outcome(Verdict.INCONCLUSIVE, f"{seen}; required {rules.min_requests} answers and {min_seconds:g} s")
    if refusals.open_question:
        return outcome(Verdict.INCONCLUSIVE, f"{seen}; {refusals.open_question}")
    return outcome(Verdict.PASS, seen)
