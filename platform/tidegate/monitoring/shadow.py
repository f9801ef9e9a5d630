"""Gate: the candidate's answers to mirrored requests against the active release's answers to the same requests.

Requests are joined by their id. Two good models disagree too, and how much is known beforehand: both are run on the candidate's
reference vectors, and what they disagree there, at the observed sample size, is the limit (times a stated slack). So a
candidate fails when it disagrees on live traffic more than it does on its own data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from tidegate.domain.errors import InvalidInput
from tidegate.domain.release_folder import read_contract
from tidegate.domain.verdict import Evidence, Finding, GateResult, Number, Verdict, evaluate_closed
from tidegate.monitoring.config import MonitorConfig, ShadowRules, monitor_of
from tidegate.monitoring.disagreement import differing_features, disagreement, expected_disagreement
from tidegate.monitoring.drift_check import read_profile
from tidegate.monitoring.eprocess import log_evidence
from tidegate.ports.gates import GateContext
from tidegate.ports.inference_records import InferenceRecord, InferenceRecords
from tidegate.ports.model_scorer import ModelScorer

SETTLING_SECONDS = 1.0  # a live request this recent may not have its mirrored record yet


@dataclass(frozen=True)
class Joined:
    """Pairs (candidate, active) by request id; `unmatched` of `expected` live requests have no mirrored record."""

    pairs: list[tuple[InferenceRecord, InferenceRecord]]
    unmatched: int
    expected: int


class ShadowGate:
    name = "shadow"

    def __init__(self, records: InferenceRecords, scorer: ModelScorer, seed: int = 0) -> None:
        self._records = records
        self._scorer = scorer
        self._seed = seed

    def evaluate(self, context: GateContext) -> GateResult:
        return evaluate_closed(self.name, context.candidate.id, lambda: self._evaluate(context))

    def _evaluate(self, context: GateContext) -> tuple[Verdict, Evidence]:
        if context.active is None or context.active_folder is None:
            return Verdict.INCONCLUSIVE, Evidence("no release is active, so there is no live answer to compare with")
        config = monitor_of(context.candidate_folder, context.candidate)
        rules = config.gates.shadow
        mirrored = self._records.records(context.candidate.digest, shadow=True, since=context.since)
        live = self._records.records(context.active.digest, shadow=False, since=context.since)
        joined = join(mirrored, live)
        good = [(c, a) for c, a in joined.pairs if c.status == 200 and a.status == 200]
        findings = [*_rates(mirrored, config), *_latency(good, rules), _completeness(joined, rules)]
        numbers: dict[str, Number | str | None] = {
            "mirrored": len(mirrored),
            "joined": len(joined.pairs),
            "unmatched": joined.unmatched,
            "answered_by_both": len(good),
        }
        thresholds = {"min_requests": rules.min_requests, "alpha": rules.alpha}
        harmful = [f for f in findings[:2] if not f.ok]  # anytime-valid, so they need not wait for the minimum
        if harmful:
            return Verdict.FAIL, Evidence(_say(harmful), len(mirrored), numbers, thresholds, tuple(findings))
        if len(good) < rules.min_requests:
            summary = f"{len(good)} requests answered by both releases, required {rules.min_requests}"
            return Verdict.INCONCLUSIVE, Evidence(summary, len(good), numbers, thresholds, tuple(findings))
        findings += self._disagreement(context, good, rules)
        failed = [f for f in findings if not f.ok]
        numbers |= {f"disagreement_{f.subject}": f.observed for f in findings if "disagreement" in f.required}
        if failed:
            return Verdict.FAIL, Evidence(_say(failed), len(good), numbers, thresholds, tuple(findings))
        summary = f"{len(good)} requests answered by both releases within all limits, {joined.unmatched} unmatched"
        return Verdict.PASS, Evidence(summary, len(good), numbers, thresholds, tuple(findings))

    def _disagreement(
        self, context: GateContext, good: Sequence[tuple[InferenceRecord, InferenceRecord]], rules: ShadowRules
    ) -> list[Finding]:
        candidate = _outputs([c for c, _ in good])
        active = _outputs([a for _, a in good])
        shared = sorted(set(candidate) & set(active))
        if not shared:
            raise InvalidInput(f"shadow: the releases share no output: {sorted(candidate)} and {sorted(active)}")
        rows = len(candidate[shared[0]])
        limits, basis = self._limits(context, shared, rows, rules)
        why = _feature_notes(good, context)
        findings = []
        for name in shared:
            if not np.isfinite(candidate[name]).all():
                share = float(1 - np.isfinite(candidate[name]).mean())
                findings.append(Finding(name, share, "no output that is not a number", False, "the candidate's outputs"))
                continue
            observed = disagreement(candidate[name], active[name])
            ok = bool(observed <= limits[name])
            note = f"{basis}; {rows} rows{_worst_segment(good, name)}" + ("" if ok or not why else f"; inputs differ: {why}")
            findings.append(Finding(name, observed, f"disagreement at most {limits[name]:.3g}", ok, note))
        return findings

    def _limits(
        self, context: GateContext, names: Sequence[str], rows: int, rules: ShadowRules
    ) -> tuple[Mapping[str, float], str]:
        assert context.active is not None  # noqa: S101 (checked by the caller, for the type checker)
        assert context.active_folder is not None  # noqa: S101
        if context.active.feature_schema != context.candidate.feature_schema:
            return dict.fromkeys(names, rules.disagreement_cap), "the releases read other features, so the configured cap holds"
        contract = read_contract(context.candidate_folder, context.candidate)
        reference = read_profile(context.candidate_folder, context.candidate).reference
        vectors = reference.select(pl.col(name).cast(pl.Float32) for name in contract.vector).to_numpy()
        ours = self._scorer.score(context.candidate_folder, context.candidate, vectors)
        theirs = self._scorer.score(context.active_folder, context.active, vectors)
        blocks = reference["event_timestamp"].to_physical().to_numpy()
        limits = {}
        for name in names:
            expected = expected_disagreement(ours[name], theirs[name], blocks, rows, rules.disagreement_quantile, self._seed)
            limits[name] = max(rules.disagreement_floor, expected * rules.disagreement_slack)
        return limits, "limit from the reference"


def join(mirrored: Sequence[InferenceRecord], live: Sequence[InferenceRecord]) -> Joined:
    """Pairs by id. Live requests count as expected from the first mirrored record to just before the last."""
    by_id = {record.id: record for record in mirrored}
    pairs = [(by_id[record.id], record) for record in live if record.id in by_id]
    if not pairs:
        return Joined([], 0, 0)
    first, last = min(a.at for _, a in pairs), max(a.at for _, a in pairs) - SETTLING_SECONDS
    expected = [record for record in live if first <= record.at <= last]
    return Joined(pairs, sum(record.id not in by_id for record in expected), len(expected))


def _rates(mirrored: Sequence[InferenceRecord], config: MonitorConfig) -> list[Finding]:
    rules, total = config.gates.shadow, len(mirrored)
    counted = (
        ("error rate", sum(r.status >= 500 for r in mirrored), rules.allowed_error_rate),
        ("slow rate", sum(not r.latency_ms <= config.slo.latency_ms for r in mirrored), rules.allowed_slow_rate),
    )
    return [
        Finding(
            name,
            count / total if total else None,
            f"at most {allowed:.3g}",
            bool(log_evidence(total, count, allowed) < np.log(2 / rules.alpha)),
            f"{count} of {total} mirrored requests",
        )
        for name, count, allowed in counted
    ]


def _latency(good: Sequence[tuple[InferenceRecord, InferenceRecord]], rules: ShadowRules) -> list[Finding]:
    if not good:
        return []
    ours, theirs = (float(np.quantile([pair[i].latency_ms for pair in good], 0.95)) for i in (0, 1))
    limit = max(rules.p95_floor_ms, rules.max_p95_ratio * theirs)
    return [Finding("p95 latency ms", ours, f"at most {limit:.4g}", bool(ours <= limit), f"active {theirs:.4g} ms")]


def _completeness(joined: Joined, rules: ShadowRules) -> Finding:
    share = joined.unmatched / joined.expected if joined.expected else 0.0
    note = f"{joined.unmatched} of {joined.expected} live requests have no mirrored record"
    return Finding(
        "unmatched requests", share, f"at most {rules.max_unmatched_share:.3g}", share <= rules.max_unmatched_share, note
    )


def _outputs(records: Sequence[InferenceRecord]) -> dict[str, np.ndarray]:
    """Outputs by name over all records, [rows, ...]; an output that one record lacks is left out."""
    names = set(records[0].outputs).intersection(*(record.outputs for record in records))
    return {name: np.concatenate([record.outputs[name] for record in records]).astype(np.float64) for name in names}


def _feature_notes(good: Sequence[tuple[InferenceRecord, InferenceRecord]], context: GateContext) -> str:
    """Which inputs the two releases saw differently for the same requests, where they read the same features."""
    if context.active is None or context.active.feature_schema != context.candidate.feature_schema:
        return ""
    contract = read_contract(context.candidate_folder, context.candidate)
    same = [(c, a) for c, a in good if c.features.shape == a.features.shape and c.entities == a.entities]
    if not same:
        return ""
    ours, theirs = (np.concatenate([pair[i].features for pair in same]) for i in (0, 1))
    return "; ".join(differing_features(ours, theirs, contract.vector)[:3])


def _worst_segment(good: Sequence[tuple[InferenceRecord, InferenceRecord]], output: str) -> str:
    """The value of a request input (horizon, say) where an output disagrees most, as a note."""
    worst, note = 0.0, ""
    for key in sorted(set(good[0][0].request)):
        values = np.concatenate([np.asarray(c.request[key]) for c, _ in good])
        ours, theirs = (np.concatenate([pair[i].outputs[output] for pair in good]) for i in (0, 1))
        levels = np.unique(values)
        if len(values) != len(ours) or not 2 <= len(levels) <= 31:
            continue
        for level in levels:
            chosen = values == level
            if chosen.sum() >= 20 and (size := disagreement(ours[chosen], theirs[chosen])) > worst:
                worst, note = size, f", worst at {key}={level:g} ({size:.3g})"
    return note


def _say(failed: Sequence[Finding]) -> str:
    def one(finding: Finding) -> str:
        observed = "nothing" if finding.observed is None else f"{finding.observed:.3g}"
        return f"{finding.subject} is {observed}, required {finding.required} ({finding.note})"

    return "; ".join(one(finding) for finding in failed)
