"""Gate: the candidate's answers to mirrored requests against the active release's answers to the same requests.

What one release answers and the other refuses is a failure of the candidate: clients would lose answers, or get some that
nobody has decided to give (`new_answers: allow` in the candidate's monitor file decides it). What the live release itself
failed to answer is not charged to the candidate.

Two good models disagree too, and how much is known beforehand: both are run on the candidate's reference, and what they
disagree there, at the observed number of distinct rows, on all keys or on those asked for, is the limit (times a stated
slack). So a candidate fails when it disagrees on live traffic more than it does on its own data. What a disagreement is depends
on the kind of the output (`outputs` of the monitor file, `statistics.disagreement`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tidegate.domain.rules import between, choice, share
from tidegate.domain.verdict import Evidence, Finding, Number, Verdict
from tidegate.files.release_folder import read_contract
from tidegate.gates.columns import Columns
from tidegate.gates.comparison import Compare, Compared, same_vectors
from tidegate.gates.drift_check import read_reference
from tidegate.gates.examples import named
from tidegate.gates.judged import judged_of
from tidegate.gates.pairing import Outcome, Pair, Pairing, outcome, pair
from tidegate.gates.reference import entities_in, reference_tensors
from tidegate.gates.segments import OutputRows, Segments
from tidegate.ports.gates import Case, GateStage
from tidegate.ports.inference_records import InferenceRecord, RequestHead, Selection
from tidegate.statistics.calibration import days_of
from tidegate.statistics.disagreement import differing_features, disagreement_limit
from tidegate.statistics.eprocess import log_evidence, log_evidence_below

TESTS = 5  # anytime-valid tests of a verdict, which share alpha
STAGES = (GateStage.VERIFY, GateStage.SHADOW)  # after the switch nothing is mirrored
SEED = 0


@dataclass(frozen=True)
class Rules:
    min_requests: int = between(1, default=200)
    alpha: float = between(1e-6, 0.5, 0.02)
    allowed_error_rate: float = between(1e-6, 0.5, 0.005)
    allowed_slow_rate: float = between(1e-6, 0.5, 0.02)
    max_p95_ratio: float = between(1, default=4.0)
    p95_floor_ms: float = between(0, default=100.0)
    max_unmatched_share: float = share(0.05)
    disagreement_quantile: float = between(0.5, 1, 0.99)
    disagreement_slack: float = between(1, default=1.5)
    disagreement_floor: float = between(0, default=0.05)
    disagreement_cap: float = between(0, default=0.6)
    allowed_refusal_rate: float = between(1e-6, 0.5, 0.005)
    harmful_refusal_rate: float = between(1e-5, 0.8, 0.03)
    new_answers: str = choice("fail", "allow", default="fail")

    def __post_init__(self) -> None:
        if self.harmful_refusal_rate <= self.allowed_refusal_rate:
            raise ValueError(
                f"harmful_refusal_rate is {self.harmful_refusal_rate:g}, allowed: more than allowed_refusal_rate "
                f"({self.allowed_refusal_rate:g})"
            )


@dataclass(frozen=True)
class _Reference:
    """Both releases' outputs on the candidate's reference, its event times and keys (none where not kept)."""

    ours: Mapping[str, np.ndarray]
    theirs: Mapping[str, np.ndarray]
    times: np.ndarray | None
    keys: Sequence[str] | None


def judge(case: Case, rules: Rules) -> tuple[Verdict, Evidence]:
    if case.active is None or case.active_folder is None:
        return Verdict.INCONCLUSIVE, Evidence("no release is active, so there is no live answer to compare with")
    mirrored = list(case.instruments.records.heads(Selection(case.candidate.digest, shadow=True, since=case.since)))
    live = list(case.instruments.records.heads(Selection(case.active.digest, shadow=False, since=case.since)))
    pairing = pair(mirrored, live)
    if "compare" not in case.memory:
        columns, segments = _looked_at(case)
        case.memory["compare"] = Compare(case.instruments.records, case.candidate.digest, case.active.digest, columns, segments)
    compare: Compare = case.memory["compare"]
    compared = compare.look([one for one in pairing.pairs if one.answered_by_both])
    harm = _rates(mirrored, pairing.pairs, case.slo.latency_ms, rules)
    harm += [*_behaviour(pairing.pairs, compared, rules), _finite(compared)]
    numbers = _numbers(mirrored, pairing, compared)
    thresholds = {"min_requests": rules.min_requests, "alpha": rules.alpha}
    harmful = [f for f in harm if not f.ok]  # anytime-valid, so they need not wait for the minimum
    if harmful:
        return Verdict.FAIL, Evidence(_say(harmful), len(mirrored), numbers, thresholds, tuple(harm))
    findings = [*harm, *_latency(pairing.pairs, rules), _completeness(pairing, rules)]
    open_question = _undecided(pairing, compared, rules)
    if open_question:
        return Verdict.INCONCLUSIVE, Evidence(open_question, compared.alike, numbers, thresholds, tuple(findings))
    findings += _disagreement(case, pairing.pairs, compared, rules, compare)
    failed = [f for f in findings if not f.ok]
    numbers |= {f"disagreement_{f.subject}": f.observed for f in findings if "disagreement" in f.required}
    if failed:
        return Verdict.FAIL, Evidence(_say(failed), compared.alike, numbers, thresholds, tuple(findings))
    refused = int(numbers["refused_by_candidate"] or 0)
    aside = f", {pairing.ambiguous} records of ambiguous ids set aside" if pairing.ambiguous else ""
    summary = (
        f"{compared.alike} requests answered by both releases within all limits, {refused} refused by the candidate alone, "
        f"{pairing.unmatched} unmatched{aside}"
    )
    return Verdict.PASS, Evidence(summary, compared.alike, numbers, thresholds, tuple(findings))


def _looked_at(case: Case) -> tuple[Columns, Segments]:
    """The columns of the candidate, and those by which rows are cut into segments; its profile function runs only in drift."""
    judged = judged_of(case.candidate_folder, case.candidate)
    columns = Columns(read_contract(case.candidate_folder, case.candidate), judged.outputs)
    reference = columns.of_reference(read_reference(case.candidate_folder, case.candidate), (), case.candidate.id)
    return columns, Segments.of_reference(columns, reference)


def _disagreement(case: Case, pairs: Sequence[Pair], compared: Compared, rules: Rules, compare: Compare) -> list[Finding]:
    why, findings = "", []
    for name, rows in sorted(compared.judged.items()):
        observed = rows.disagreement
        limit, basis = _limit(case, name, rows, rules)
        ok = bool(observed <= limit)
        if not ok and not why:
            why = _feature_notes(compare.records_of([one for one in pairs if one.answered_by_both]), case)
        what = "distinct rows" if compared.keyed else "requests with tensors of their own"
        note = f"{basis}; {len(rows)} {what}{rows.worst_segment()}"
        note += "" if ok else rows.worst_rows(compare.columns)
        note += f"; inputs differ: {why}" if why and not ok else ""
        findings.append(Finding(name, observed, f"{rows.kind.name} disagreement at most {limit:.3g}", ok, note))
    return findings


def _limit(case: Case, name: str, rows: OutputRows, rules: Rules) -> tuple[float, str]:
    assert case.active is not None  # noqa: S101 (checked by the caller, for the type checker)
    cap = min(rules.disagreement_cap, rows.kind.cap)
    if rows.disagreement <= rules.disagreement_floor:
        return rules.disagreement_floor, "less than this never fails"
    if case.active.feature_schema != case.candidate.feature_schema:
        return cap, "the releases read other features, so the configured cap holds"
    scored = _reference(case)
    if scored is None:
        return cap, "the reference lacks inputs of the model, so the configured cap holds"
    if name not in scored.ours or name not in scored.theirs or scored.ours[name].shape != scored.theirs[name].shape:
        return cap, "the reference says nothing about this output, so the configured cap holds"
    keys = set(rows.keys)
    asked = None if scored.keys is None else np.array([key in keys for key in scored.keys], dtype=bool)
    expected = disagreement_limit(
        rows.kind,
        rows.kind.rows(scored.ours[name], scored.theirs[name]),
        scored.times,
        len(rows),
        rules.disagreement_quantile,
        SEED,
        asked,
    )
    if not math.isfinite(expected):
        return cap, "the reference's answers are all zero, so the configured cap holds"
    limit = max(rules.disagreement_floor, expected * rules.disagreement_slack)
    if limit > cap:  # a model that is wrong by a unit, or the opposite of the live one, is so on the reference too
        return cap, f"the configured cap holds: on the reference the releases disagree by {expected:.3f}"
    return limit, "limit from the reference"


def _reference(case: Case) -> _Reference | None:
    """None where the reference has not all inputs of the model."""
    assert case.active is not None  # noqa: S101
    assert case.active_folder is not None  # noqa: S101
    if "reference" not in case.memory:
        contract = read_contract(case.candidate_folder, case.candidate)
        frame = read_reference(case.candidate_folder, case.candidate)
        inputs = reference_tensors(frame, contract, case.candidate.id)
        whole = {tensor.name for tensor in contract.tensors} <= inputs.keys()
        scorer = case.instruments.scorer
        case.memory["reference"] = whole and _Reference(
            scorer.score(case.candidate_folder, case.candidate, inputs),
            scorer.score(case.active_folder, case.active, inputs),
            days_of(frame),
            entities_in(frame, contract),
        )
    found: _Reference | None = case.memory["reference"] or None
    return found


def _numbers(mirrored: Sequence[RequestHead], pairing: Pairing, compared: Compared) -> dict[str, Number | str | None]:
    pairs = pairing.pairs
    return {
        "mirrored": len(mirrored),
        "joined": len(pairs),
        "unmatched": pairing.unmatched,
        "ambiguous": pairing.ambiguous,
        "answered_by_both": sum(one.answered_by_both for one in pairs),
        "refused_by_candidate": sum(one.refused_by_candidate for one in pairs),
        "answered_by_candidate_alone": sum(one.answered_by_candidate_alone for one in pairs),
        "refused_by_both": sum(one.outcomes == (Outcome.REFUSED, Outcome.REFUSED) for one in pairs),
        "failed_by_live": sum(one.outcomes[1] is Outcome.FAILED for one in pairs),
        "compared": compared.alike,
        "requests_of_tensors": max((len(rows) for rows in compared.sent.values()), default=0),
    }


def _rates(mirrored: Sequence[RequestHead], pairs: Sequence[Pair], latency_ms: float, rules: Rules) -> list[Finding]:
    """Errors and slow answers among the requests that the candidate took on; neither refusals, which are quick and free to ask
    for, nor what the live release failed to answer, too."""
    excused = {one.live.id for one in pairs if one.outcomes[1] is Outcome.FAILED}
    taken = [
        record
        for record in mirrored
        if outcome(record.status) in (Outcome.ANSWERED, Outcome.FAILED) and record.id not in excused
    ]
    failed = [record for record in taken if outcome(record.status) is Outcome.FAILED]
    slow = [record for record in taken if not record.latency_ms <= latency_ms]
    return [
        _rate("error rate", failed, len(taken), rules.allowed_error_rate, rules, "mirrored requests"),
        _rate("slow rate", slow, len(taken), rules.allowed_slow_rate, rules, "mirrored requests"),
    ]


def _behaviour(pairs: Sequence[Pair], compared: Compared, rules: Rules) -> list[Finding]:
    """What one release answers and the other does not, and answers that are not alike."""
    lost, gained, both = _lost(pairs), [one.candidate for one in pairs if one.answered_by_candidate_alone], _judged(pairs)
    what = "requests that the live release answered"
    findings = [_rate("refusal rate", lost, both, rules.allowed_refusal_rate, rules, what)]
    if rules.new_answers == "fail":
        known = sum(one.outcomes[0] in (Outcome.ANSWERED, Outcome.REFUSED) for one in pairs)
        what = "requests, answered by the candidate and refused by the live release"
        note = "; 'new_answers: allow' among the gate's rules says that they are meant"
        finding = _rate("new answer rate", gained, known, rules.allowed_refusal_rate, rules, what)
        findings.append(finding if finding.ok else Finding(**{**vars(finding), "note": finding.note + note}))
    unlike = len(compared.unlike) + compared.alike
    what = "answers that have the live release's rows and outputs"
    findings.append(_rate("incomparable rate", compared.unlike, unlike, rules.allowed_refusal_rate, rules, what))
    return findings


def _rate(name: str, bad: Sequence[RequestHead], total: int, allowed: float, rules: Rules, what: str) -> Finding:
    ok = bool(log_evidence(total, len(bad), allowed) < math.log(TESTS / rules.alpha))
    note = f"{len(bad)} of {total} {what}" + (f": {named(bad)}" if bad else "")
    return Finding(name, len(bad) / total if total else None, f"at most {allowed:.3g}", ok, note)


def _lost(pairs: Sequence[Pair]) -> list[RequestHead]:
    return [one.candidate for one in pairs if one.refused_by_candidate]


def _judged(pairs: Sequence[Pair]) -> int:
    """Requests on which both releases were heard: the live one answered, the candidate answered or refused."""
    return sum(one.answered_by_both or one.refused_by_candidate for one in pairs)


def _finite(compared: Compared) -> Finding:
    total, bad = compared.alike + len(compared.not_finite), compared.not_finite
    note = f"{len(bad)} of {total} answers" + (f": {named(bad)}" if bad else "")
    return Finding("outputs", len(bad) / total if total else None, "no output that is not a number", not bad, note)


def _undecided(pairing: Pairing, compared: Compared, rules: Rules) -> str:
    """Why it is too early to let the candidate pass; empty when it is not."""
    if compared.alike < rules.min_requests:
        aside = f"; {pairing.ambiguous} records of ambiguous ids are set aside" if pairing.ambiguous else ""
        return f"{compared.alike} requests answered by both releases, required {rules.min_requests}{aside}"
    if pairing.waiting > rules.max_unmatched_share * (pairing.expected + pairing.waiting):
        return f"the latest {pairing.waiting} live requests have no mirrored record yet"
    lost, judged, bound = len(_lost(pairing.pairs)), _judged(pairing.pairs), rules.harmful_refusal_rate
    # as sure as the minimum without any refusal makes us, and at most as sure as alpha asks for
    needed = min(math.log(TESTS / rules.alpha), log_evidence_below(rules.min_requests, 0, bound))
    if log_evidence_below(judged, lost, bound) < needed:
        return (
            f"the candidate refused {lost} of {judged} requests that the live release answered, which leaves open whether it "
            f"refuses less than {bound:.1%} ({named(_lost(pairing.pairs))})"
        )
    return ""


def _latency(pairs: Sequence[Pair], rules: Rules) -> list[Finding]:
    good = [one for one in pairs if one.answered_by_both]
    if not good:
        return []
    ours = float(np.quantile([one.candidate.latency_ms for one in good], 0.95))
    theirs = float(np.quantile([one.live.latency_ms for one in good], 0.95))
    limit = max(rules.p95_floor_ms, rules.max_p95_ratio * theirs)
    return [Finding("p95 latency ms", ours, f"at most {limit:.4g}", bool(ours <= limit), f"active {theirs:.4g} ms")]


def _completeness(pairing: Pairing, rules: Rules) -> Finding:
    share = pairing.unmatched / pairing.expected if pairing.expected else 0.0
    note = f"{pairing.unmatched} of {pairing.expected} live requests have no mirrored record"
    return Finding(
        "unmatched requests", share, f"at most {rules.max_unmatched_share:.3g}", share <= rules.max_unmatched_share, note
    )


def _feature_notes(pairs: Iterable[tuple[InferenceRecord, InferenceRecord]], case: Case) -> str:
    """Which inputs the two releases saw differently for the same requests, where they read the same features."""
    if case.active is None or case.active.feature_schema != case.candidate.feature_schema:
        return ""
    contract = read_contract(case.candidate_folder, case.candidate)
    width = len(contract.vector)
    same = [both for both in same_vectors(pairs) if both[0].shape[1] == width]
    if not same:
        return ""
    ours, theirs = (np.concatenate([both[i] for both in same]) for i in (0, 1))
    return "; ".join(differing_features(ours, theirs, contract.vector)[:3])


def _say(failed: Sequence[Finding]) -> str:
    def one(finding: Finding) -> str:
        observed = "nothing" if finding.observed is None else f"{finding.observed:.3g}"
        return f"{finding.subject} is {observed}, required {finding.required} ({finding.note})"

    return "; ".join(one(finding) for finding in failed)
