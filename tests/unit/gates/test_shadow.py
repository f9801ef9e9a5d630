"""The shadow gate under traffic that nobody chose: refusals, tensors of clients' own, ids that tie nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from release_fixture import FakeRecords, FakeScorer, Stage, ask, records, stage, vectors

from tidegate.domain.verdict import GateResult, Verdict
from tidegate.gates.examples import printable
from tidegate.gates.pairing import pair
from tidegate.ports.inference_records import InferenceRecord

NOTHING = {
    "entities": (),
    "event_times": np.empty(0, np.int64),
    "request": {},
    "features": np.empty((0, 0), np.float32),
    "outputs": {},
}


@pytest.fixture
def here(tmp_path: Path) -> Stage:
    return stage(tmp_path)


def both(here: Stage, rows: int = 900, **how: float) -> tuple[list[InferenceRecord], list[InferenceRecord]]:
    seen = vectors(rows, 5)
    ours, theirs = records(here.candidate, seen, shadow=True, **how), records(here.active, seen, shadow=False)
    return [replace(r, route="predict") for r in ours], [replace(r, route="predict") for r in theirs]


def refused(record: InferenceRecord, status: int = 422, error: str = "no") -> InferenceRecord:
    return replace(record, status=status, error=error, **NOTHING)


def tensors(record: InferenceRecord, rows: int) -> InferenceRecord:
    """The record as one of a V2 request of `rows` rows: no key, no request inputs."""
    features = np.full((rows, 3), 7.0, dtype=np.float32)
    outputs = {"units_q50": np.full(rows, 7.7, dtype=np.float32)}
    return replace(record, **{**NOTHING, "features": features, "outputs": outputs}, route="infer")


def shadow(here: Stage, ours: Sequence[InferenceRecord], theirs: Sequence[InferenceRecord]) -> GateResult:
    return ask("shadow", here.context, FakeRecords(ours, theirs), scorer=FakeScorer({"2": 1.05, "1": 1.0}))


def test_a_candidate_that_refuses_what_the_live_release_answers_fails_and_the_route_and_requests_are_named(here: Stage) -> None:
    ours, theirs = both(here)
    ours = [refused(r, error="sku has at most 5 characters") if i % 3 == 0 else r for i, r in enumerate(ours)]
    result = shadow(here, ours, theirs)
    assert result.verdict is Verdict.FAIL
    assert "refusal rate is 0.333" in result.evidence.summary
    assert "100 of 300 requests that the live release answered" in result.evidence.summary
    assert "route predict, status 422, first ids r0, r3, r6 ('sku has at most 5 characters')" in result.evidence.summary


@pytest.mark.parametrize("seed", range(20))
def test_a_candidate_that_refuses_one_request_in_twenty_never_passes(here: Stage, seed: int) -> None:
    ours, theirs = both(here)
    chosen = np.random.default_rng(seed).random(len(ours)) < 0.05
    ours = [refused(r) if bad else r for r, bad in zip(ours, chosen, strict=True)]
    for requests in range(200, 301, 20):
        assert not shadow(here, ours[:requests], theirs[:requests]).verdict.opens


def test_few_refusals_leave_it_open_until_more_requests_show_that_they_are_rare(here: Stage) -> None:
    ours, theirs = both(here, 3000)
    ours[7] = refused(ours[7])
    early = shadow(here, ours[:210], theirs[:210])
    assert early.verdict is Verdict.INCONCLUSIVE
    assert "refused 1 of 210 requests" in early.evidence.summary
    assert shadow(here, ours, theirs).verdict is Verdict.PASS


def test_a_candidate_that_answers_what_the_live_release_refuses_fails_unless_its_monitor_file_says_that_it_is_meant(
    here: Stage,
) -> None:
    ours, theirs = both(here)
    theirs = [refused(r, 404) if i % 10 == 0 else r for i, r in enumerate(theirs)]
    result = shadow(here, ours, theirs)
    assert result.verdict is Verdict.FAIL
    assert "30 of 300 requests, answered by the candidate and refused by the live release" in result.evidence.summary
    assert "new_answers: allow" in result.evidence.summary


@pytest.mark.parametrize("status", [500, 503, 504, 429, 408])
def test_what_the_live_release_fails_to_answer_for_a_moment_is_not_charged_to_the_candidate(here: Stage, status: int) -> None:
    ours, theirs = both(here)
    theirs = [refused(r, status) if i % 5 == 0 else r for i, r in enumerate(theirs)]
    assert shadow(here, ours, theirs).verdict is Verdict.PASS
    ours = [refused(r, 503) if i % 5 == 0 else r for i, r in enumerate(ours)]
    assert shadow(here, ours, theirs).verdict is (Verdict.PASS if status >= 500 else Verdict.FAIL)


def test_what_both_refuse_says_nothing_and_does_not_thin_out_errors(here: Stage) -> None:
    ours, theirs = both(here, 3000)
    malformed = [(refused(c, 400), refused(a, 404)) for c, a in zip(ours[300:], theirs[300:], strict=True)]
    good = shadow(here, ours[:300] + [c for c, _ in malformed], theirs[:300] + [a for _, a in malformed])
    assert good.verdict is Verdict.PASS
    assert good.evidence.numbers["refused_by_both"] == 700
    failing = [refused(r, 500) if i % 30 == 0 else r for i, r in enumerate(ours[:300])]
    bad = shadow(here, failing + [c for c, _ in malformed], theirs[:300] + [a for _, a in malformed])
    assert "10 of 300 mirrored requests" in bad.evidence.summary


def test_a_request_of_tensors_among_typed_ones_is_compared_by_itself(here: Stage) -> None:
    ours, theirs = both(here)
    for place in range(0, 300, 50):
        ours[place], theirs[place] = tensors(ours[place], 500), tensors(theirs[place], 500)
    wild = replace(ours[0], outputs={"units_q50": np.full(500, 1e30, dtype=np.float32)})
    result = shadow(here, [wild, *ours[1:]], theirs)
    assert result.verdict is Verdict.PASS, result.evidence.summary
    assert result.evidence.numbers["requests_of_tensors"] == 6


def test_a_release_that_gets_nothing_but_tensors_is_judged_by_request(here: Stage) -> None:
    ours, theirs = ([tensors(r, 1 + i % 9) for i, r in enumerate(side)] for side in both(here))
    assert shadow(here, ours, theirs).verdict is Verdict.PASS
    doubled = [replace(r, outputs={"units_q50": r.outputs["units_q50"] * 2}) for r in ours]
    result = shadow(here, doubled, theirs)
    assert result.verdict is Verdict.FAIL
    assert "300 requests with tensors of their own" in result.evidence.summary


@pytest.mark.parametrize("repeated", ["live", "mirrored", "both"])
def test_a_repeated_id_is_set_aside_and_counted(here: Stage, repeated: str) -> None:
    ours, theirs = both(here)
    more = [replace(r, entities=("other",), features=r.features[:1], outputs={}) for r in ours[:1] * 200]
    if repeated in ("mirrored", "both"):
        ours = [*more, *ours]
    if repeated in ("live", "both"):
        theirs = [*(replace(r, release=here.active.digest, shadow=False) for r in more), *theirs]
    result = shadow(here, ours, theirs)
    assert result.verdict is Verdict.PASS, result.evidence.summary
    assert result.evidence.numbers["joined"] == 299
    assert result.evidence.numbers["ambiguous"] == {"live": 202, "mirrored": 202, "both": 402}[repeated]


def test_requests_without_an_id_are_never_pairs(here: Stage) -> None:
    ours, theirs = both(here)
    result = shadow(here, [replace(r, id="") for r in ours], [replace(r, id="") for r in theirs])
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "600 records of ambiguous ids" in result.evidence.summary


def test_answers_with_other_rows_or_outputs_are_a_failure_and_never_an_exception(here: Stage) -> None:
    ours, theirs = both(here)
    shorter = [replace(r, outputs={"units_q50": r.outputs["units_q50"][:1]}) for r in ours]
    renamed = [replace(r, outputs={"units": r.outputs["units_q50"]}) for r in ours]
    others = [replace(r, entities=("x",) * 3) for r in ours]
    for changed in (shorter, renamed, others):
        result = shadow(here, changed, theirs)
        assert result.verdict is Verdict.FAIL
        assert "incomparable rate is 1" in result.evidence.summary


def test_outputs_of_any_type_and_shape_are_compared_without_an_exception(here: Stage) -> None:
    ours, theirs = both(here)
    for make in (
        lambda n: np.zeros((n, 2, 3), dtype=np.int64),
        lambda n: np.array(["a"] * n),
        lambda n: np.full(n, np.inf, dtype=np.float16),
    ):
        pairs = [[replace(r, outputs={"units_q50": make(len(r.entities))}) for r in side] for side in (ours, theirs)]
        assert shadow(here, *pairs).verdict in (Verdict.PASS, Verdict.FAIL)


def test_a_popular_key_counts_once(here: Stage) -> None:
    """One key on which two good models differ more than elsewhere, asked for again and again."""
    ours, theirs = both(here, 900)
    one = [replace(ours[0], id=f"p{i}", at=200.0 + i / 100, outputs={"units_q50": np.full(3, 9.0, "f4")}) for i in range(3000)]
    other = [replace(theirs[0], id=r.id, at=r.at, outputs={"units_q50": np.full(3, 5.0, "f4")}) for r in one]
    result = shadow(here, ours + one, theirs + other)
    assert result.verdict is Verdict.PASS, result.evidence.summary


def test_a_candidate_that_falls_silent_does_not_pass_on_what_it_answered_before(here: Stage) -> None:
    ours, theirs = both(here)
    result = shadow(here, ours[:220], theirs)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "no mirrored record yet" in result.evidence.summary


def test_what_a_client_wrote_is_short_and_printable_in_evidence(here: Stage) -> None:
    ours, theirs = both(here)
    ours = [refused(replace(r, id="\n\x1b[31m" + "é" * 500 + str(i)), error="\r" * 5000) for i, r in enumerate(ours)]
    theirs = [replace(r, id=c.id) for c, r in zip(ours, theirs, strict=True)]
    result = shadow(here, ours, theirs)
    assert result.verdict is Verdict.FAIL
    assert result.evidence.summary.isascii()
    assert result.evidence.summary.isprintable()
    assert len(result.evidence.summary) < 1000
    assert printable("plain-id") == "plain-id"


def test_pairs_are_one_live_and_one_mirrored_record(here: Stage) -> None:
    ours, theirs = both(here, 30)
    joined = pair([*ours, ours[3]], theirs)
    assert [one.live.id for one in joined.pairs] == [r.id for r in theirs if r.id != "r3"]
    assert (joined.ambiguous, joined.unmatched) == (3, 0)
