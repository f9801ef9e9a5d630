"""Gate: live traffic on the candidate after the switch, judged by anytime-valid evidence at every look.

Reads the proxy's cumulative counters of the candidate's slot and adds up what grew since the first look (counters that fell
were restarted with the proxy, and then count from zero). Errors and slow answers have half of alpha each. An engine that
was restarted begins anew and so needs the minimum of requests again: never less evidence, only later.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from tidegate.domain.errors import InvalidInput
from tidegate.domain.verdict import Evidence, Finding, GateResult, Verdict, evaluate_closed
from tidegate.monitoring.config import BakeRules, monitor_of
from tidegate.monitoring.eprocess import log_evidence
from tidegate.ports.gates import GateContext
from tidegate.ports.traffic import LiveTraffic, SlotTraffic


@dataclass(frozen=True)
class Tally:
    """Sums since the switch. `timed` requests have a latency, of which `slow` are above the bound `bound_ms`."""

    requests: int = 0
    errors: int = 0
    timed: int = 0
    slow: int = 0
    bound_ms: float = math.nan


class BakeGate:
    name = "bake"

    def __init__(self, target: LiveTraffic, clock: Callable[[], float] = time.time) -> None:
        self._target = target
        self._clock = clock
        self._seen: dict[tuple[str, str, float], tuple[SlotTraffic, Tally]] = {}

    def evaluate(self, context: GateContext) -> GateResult:
        return evaluate_closed(self.name, context.candidate.id, lambda: self._evaluate(context))

    def _evaluate(self, context: GateContext) -> tuple[Verdict, Evidence]:
        config = monitor_of(context.candidate_folder, context.candidate)
        traffic = self._target.traffic(context.model).get(context.candidate_slot)
        if traffic is None:
            return Verdict.INCONCLUSIVE, Evidence(f"no counters of slot {context.candidate_slot} yet")
        tally = self._count(context, traffic, config.slo.latency_ms)
        verdict, evidence = judge(tally, self._clock() - context.since, config.gates.bake)
        routed, _ = self._target.routed(context.model)
        if verdict is Verdict.PASS and routed is not context.candidate_slot:
            where = f"slot {routed}" if routed else "no slot"
            return Verdict.INCONCLUSIVE, Evidence(
                f"live traffic goes to {where}, not to {context.candidate_slot}", tally.requests
            )
        return verdict, evidence

    def _count(self, context: GateContext, now: SlotTraffic, latency_ms: float) -> Tally:
        key = (context.model, context.candidate.digest, context.since)
        if key not in self._seen:
            self._seen = {key: (now, Tally())}  # one rollout at a time: older ones are forgotten
        before, tally = self._seen[key]
        grown = growth(before, now, latency_ms)
        total = Tally(
            tally.requests + grown.requests,
            tally.errors + grown.errors,
            tally.timed + grown.timed,
            tally.slow + grown.slow,
            grown.bound_ms,
        )
        self._seen[key] = (now, total)
        return total


def growth(before: SlotTraffic, now: SlotTraffic, latency_ms: float) -> Tally:
    """What happened between two looks. An answer is slow above the smallest bucket bound that is not below `latency_ms`."""
    restarted = now.completed < before.completed or now.errors_5xx < before.errors_5xx
    base = SlotTraffic(0, 0, 0, {}) if restarted else before
    requests, errors = now.completed - base.completed, now.errors_5xx - base.errors_5xx
    if not (math.isfinite(requests) and math.isfinite(errors)):
        raise InvalidInput(f"bake: the proxy's counters are not numbers: {now.completed} completed, {now.errors_5xx} errors")
    bounds = sorted(bound for bound in now.latency_buckets_ms if bound >= latency_ms)
    if not now.latency_buckets_ms:
        return Tally(requests, min(errors, requests))
    if not bounds:
        raise InvalidInput(
            f"bake: no latency bucket of the proxy reaches the SLO of {latency_ms:g} ms; add one to its settings"
        )
    counts = {bound: count - base.latency_buckets_ms.get(bound, 0) for bound, count in now.latency_buckets_ms.items()}
    timed = max(0, counts[max(counts)])  # a histogram is flushed apart from the counters, so it has its own total
    slow = min(timed, max(0, timed - counts[bounds[0]]))
    return Tally(requests, min(errors, requests), timed, slow, bounds[0])


def judge(tally: Tally, seconds: float, rules: BakeRules) -> tuple[Verdict, Evidence]:
    """FAIL as soon as the evidence is there; PASS only after the minimum of time, requests and timed requests."""
    limit = math.log(2 / rules.alpha)
    bad = {
        "error rate": (
            tally.requests,
            tally.errors,
            rules.allowed_error_rate,
            log_evidence(tally.requests, tally.errors, rules.allowed_error_rate),
        ),
        "slow rate": (
            tally.timed,
            tally.slow,
            rules.allowed_slow_rate,
            log_evidence(tally.timed, tally.slow, rules.allowed_slow_rate),
        ),
    }
    findings = tuple(
        Finding(
            name, count / total if total else None, f"at most {allowed:.3g}", evidence < limit, f"{count} of {total} requests"
        )
        for name, (total, count, allowed, evidence) in bad.items()
    )
    numbers: dict[str, float | int | str | None] = {
        "requests": tally.requests,
        "errors": tally.errors,
        "slow": tally.slow,
        "seconds": round(seconds, 3),
        "log_e_errors": bad["error rate"][3],
        "log_e_slow": bad["slow rate"][3],
    }
    thresholds = {"log_e": limit, "min_requests": rules.min_requests, "min_seconds": rules.min_seconds, "alpha": rules.alpha}

    def outcome(verdict: Verdict, summary: str) -> tuple[Verdict, Evidence]:
        return verdict, Evidence(summary, tally.requests, numbers, thresholds, findings)

    for name, (total, count, allowed, evidence) in bad.items():
        if evidence >= limit:
            return outcome(
                Verdict.FAIL, f"{name} is {count} of {total} requests, allowed {allowed:.2%}; evidence e^{evidence:.1f}"
            )
    enough = min(tally.requests, tally.timed) >= rules.min_requests and seconds >= rules.min_seconds
    seen = f"{tally.requests} requests ({tally.timed} timed) in {seconds:.0f} s, {tally.errors} errors, {tally.slow} slow"
    if not enough:
        return outcome(Verdict.INCONCLUSIVE, f"{seen}; required {rules.min_requests} requests and {rules.min_seconds:g} s")
    return outcome(Verdict.PASS, seen)
