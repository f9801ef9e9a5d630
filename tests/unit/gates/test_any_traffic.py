"""The judges stand whatever traffic comes: 200 seeded mixtures of requests on a candidate that is equal to the live release,
and on one that refuses 5 % more.

Budgets: drift alarms falsely in at most 5 % of checks (`false_alarm_budget`), shadow in at most 2 % of rollouts (`alpha`) of a
candidate that keeps exactly to every allowed rate, and practically never in one that is equal.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from mixtures import KEYS, NO_TIMES, WORLD, any_mixture, drawn, refusing, requests, world_stage
from release_fixture import FakeMeter, FakeRecords, FakeScorer, Stage, ask

from tidegate.domain.verdict import GateResult, Verdict
from tidegate.gates.watch import watch
from tidegate.ports.inference_records import InferenceRecord

MIXTURES = 200
Judged = list[dict[str, GateResult]]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return world_stage(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def judged(here: Stage) -> Judged:
    """Of each mixture: shadow and drift of the equal candidate, and shadow of the one that refuses more."""
    results = []
    for seed in range(MIXTURES):
        mirrored, live = drawn(seed, here)
        equal = FakeRecords(mirrored, live)
        results.append(
            {
                "shadow": ask("shadow", here.context, equal, scorer=FakeScorer({})),
                "drift": ask("drift", here.context, equal, meter=FakeMeter()),
                "refusing": ask(
                    "shadow", here.context, FakeRecords(refusing(mirrored, 0.05, seed), live), scorer=FakeScorer({})
                ),
            }
        )
    return results


def test_no_gate_raises_whatever_the_traffic(judged: Judged) -> None:
    assert [r.evidence.summary for each in judged for r in each.values() if r.verdict is Verdict.ERROR] == []


def test_an_equal_candidate_passes_in_at_least_95_of_100_mixtures(judged: Judged) -> None:
    passed = Counter(each["shadow"].verdict.opens and each["drift"].verdict.opens for each in judged)
    assert passed[True] >= 0.95 * MIXTURES


def test_a_candidate_that_refuses_one_in_twenty_more_is_stopped_in_all_mixtures(judged: Judged) -> None:
    assert not any(each["refusing"].verdict.opens for each in judged)


def test_real_drift_is_found_in_any_mixture(here: Stage) -> None:
    """Prices in pence, and a rise of demand by half, as all keys show it."""
    for seed in range(12):
        mirrored, _ = drawn(1000 + seed, here)
        for column, factor, kind in ((1, 100.0, "fault"), (0, 3.0, "drift")):
            for record in mirrored:
                if record.entities:
                    record.features[:, column] *= factor
            result = ask("drift", here.context, FakeRecords(mirrored), meter=FakeMeter())
            assert result.verdict is Verdict.FAIL, f"{any_mixture(1000 + seed)[0]}: {result.evidence.summary}"
            assert result.evidence.numbers["kind"] == kind
            for record in mirrored:
                if record.entities:
                    record.features[:, column] /= factor


def only(here: Stage, keys: np.ndarray, count: int, seed: int) -> GateResult:
    """Drift where each of `count` requests asks for three of `keys`."""
    rng = np.random.default_rng(seed)
    mixture, _ = any_mixture(0)
    mirrored, _ = requests(mixture, rng, here.candidate, here.active)
    model = next(record for record in mirrored if record.entities)
    today = WORLD.vectors(np.arange(KEYS), rng)
    ones, times = {"horizon": np.ones(3, dtype=np.int64)}, np.full(3, model.event_times[0])
    asked = []
    for i in range(count):
        chosen = rng.choice(keys, 3)
        names = tuple(f"sku{key}" for key in chosen)
        one = replace(model, id=f"r{i}", entities=names, event_times=times, request=ones, features=today[chosen], outputs={})
        asked.append(one)
    return ask("drift", here.context, FakeRecords(asked), meter=FakeMeter())


def test_asking_for_one_popular_key_again_and_again_is_no_drift_and_no_pass(here: Stage) -> None:
    result = only(here, np.array([0]), 1000, 1)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "1 distinct vectors in 3000 rows" in result.evidence.summary


@pytest.mark.parametrize("top", [40, 100])
def test_asking_for_the_most_popular_keys_alone_is_no_drift(here: Stage, top: int) -> None:
    verdicts = Counter(only(here, np.arange(top), 400, seed).verdict for seed in range(20))
    assert verdicts[Verdict.PASS] >= 18


def test_keys_that_the_reference_does_not_hold_are_left_out_while_they_are_few(here: Stage) -> None:
    typed = [record for record in drawn(1, here)[0] if record.entities]
    for share, verdict in ((0.2, Verdict.PASS), (1.0, Verdict.FAIL)):
        asked = []
        for i, record in enumerate(typed):
            fresh = i % 10 < 10 * share
            names = tuple(f"new{i}-{k}" for k in range(len(record.entities))) if fresh else record.entities
            features = record.features * np.float32(30.0) if fresh else record.features
            asked.append(replace(record, entities=names, features=features))
        result = ask("drift", here.context, FakeRecords(asked), meter=FakeMeter())
        assert result.verdict is verdict, result.evidence.summary
        assert ("others have keys that the reference does not hold" in result.evidence.summary) is (share < 1)


def test_one_request_of_tensors_is_not_the_window_and_many_are_watched(here: Stage) -> None:
    typed = [record for record in drawn(1, here)[0] if record.entities]
    rng = np.random.default_rng(5)

    def sent(count: int, rows: int, factor: float = 1.0) -> list[InferenceRecord]:
        scale = np.array([1, factor, 1], dtype=np.float32)
        made = [WORLD.vectors(rng.choice(KEYS, rows), rng) * scale for _ in range(count)]
        bare = replace(typed[0], entities=(), event_times=NO_TIMES, request={}, outputs={})
        return [replace(bare, id=f"t{i}", features=features) for i, features in enumerate(made)]

    def drift(records: list[InferenceRecord]) -> GateResult:
        return ask("drift", here.context, FakeRecords(records), meter=FakeMeter())

    assert drift(sent(1, 500, factor=100.0)).verdict is Verdict.INCONCLUSIVE
    assert drift(sent(20, 500)).verdict is Verdict.INCONCLUSIVE
    assert drift(sent(120, 5)).verdict is Verdict.PASS
    assert drift(sent(120, 5, factor=100.0)).evidence.numbers["kind"] == "fault"
    beside = drift(sent(120, 5, factor=100.0) + typed)
    assert beside.verdict is Verdict.PASS, "what clients send by themselves does not stop a release that looks its features up"
    assert beside.evidence.numbers["tensors_kind"] == "fault"
    assert "not judged: 1 of 2 features incompatible" in beside.evidence.summary
    live = FakeRecords([replace(record, shadow=False) for record in sent(120, 5)])
    [seen] = watch(here.candidate, here.folder, live, FakeMeter())
    assert (seen.result.verdict, seen.window) == (Verdict.PASS, "1969-12-29"), "without event times, by arrival"
