"""Gates read the latest of the log as far as they need it, and what is new since their last look."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from release_fixture import WINDOW, FakeMeter, FakeRecords, FakeScorer, Stage, ask, evaluator, records, stage, vectors

from tidegate.gates.watch import name_of, start_of, watch
from tidegate.gates.window import SEARCHED
from tidegate.ports.inference_records import InferenceRecord, Selection


class Counted(FakeRecords):
    """Counts the records that are taken whole."""

    taken = 0

    def read(self, selection: Selection, newest_first: bool = False) -> Iterator[InferenceRecord]:
        for record in super().read(selection, newest_first):
            self.taken += 1
            yield record


@pytest.fixture
def here(tmp_path: Path) -> Stage:
    return stage(tmp_path)


def test_drift_and_watch_read_a_window_and_not_the_log(here: Stage) -> None:
    log = Counted(records(here.candidate, vectors(WINDOW * 20, 3), shadow=False))
    ask("drift", here.context, log, meter=FakeMeter())
    assert log.taken <= WINDOW / 3 + 1
    log.taken = 0
    watch(here.candidate, here.folder, log, FakeMeter())
    assert log.taken <= WINDOW / 3 + 2


def test_requests_for_one_key_alone_are_read_up_to_a_bound(here: Stage) -> None:
    one = records(here.candidate, vectors(100, 3), shadow=False, a_request=100)[0]
    one = replace(one, entities=("sku1",) * 100)
    count = 2 * SEARCHED * WINDOW // 100
    log = Counted([replace(one, id=f"r{n}", at=101.0 + n) for n in range(count)])
    result = ask("drift", here.context, log, meter=FakeMeter())
    assert not result.verdict.opens
    assert log.taken <= SEARCHED * WINDOW / 100 + 1


def test_shadow_compares_what_is_new_and_says_what_it_would_say_of_all(here: Stage) -> None:
    seen = vectors(1200, 5)
    ours = records(here.candidate, seen, shadow=True, factor=1.02)
    theirs = records(here.active, seen, shadow=False)
    shuffled = np.random.default_rng(1).permutation(len(ours))
    known = Counted()
    gates = evaluator(known, scorer=FakeScorer({"2": 1.05, "1": 1.0}))
    looks = [100, 180, 181, 300, 400]
    for count in looks:
        log = FakeRecords(ours[:count], theirs[: count + 3])
        known.all, known.taken = list(log.all), 0
        if count == 300:
            known.all = log.all = [log.all[i] for i in np.random.default_rng(2).permutation(len(log.all))]
        fresh = ask("shadow", here.context, log, scorer=FakeScorer({"2": 1.05, "1": 1.0}))
        now = gates("shadow", here.context)
        assert (now.verdict, now.evidence) == (fresh.verdict, fresh.evidence)
        if count == 181:
            assert known.taken <= 4
    # a mirrored record that comes late, and an id that turns out to be of two requests
    late = [ours[i] for i in shuffled if i != 7]
    for log_ in ([*late], [*late, ours[7]], [*late, ours[7], replace(ours[9], at=900.0)]):
        known.all = [*log_, *theirs]
        fresh = ask("shadow", here.context, FakeRecords(log_, theirs), scorer=FakeScorer({"2": 1.05, "1": 1.0}))
        now = gates("shadow", here.context)
        assert (now.verdict, now.evidence) == (fresh.verdict, fresh.evidence)


def test_weeks_begin_on_monday_and_midnights_belong_to_the_day_before() -> None:
    day, week = 86_400, 7 * 86_400
    assert start_of((-3 + 1) * day, week) == -3 * day  # the midnight that ends Monday, three days before the epoch
    assert start_of((-3 + 7) * day, week) == -3 * day  # and the one that ends Sunday
    assert start_of(-3 * day, week) == -10 * day
    assert name_of(-3 * day, week) == "1969-12-29"


def test_windows_of_any_length_hold_what_ends_with_them() -> None:
    noon = datetime(2020, 5, 6, 12, tzinfo=UTC).timestamp()
    assert [name_of(start_of(at, 3600), 3600) for at in (noon, noon + 1)] == ["2020-05-06T11:00Z", "2020-05-06T12:00Z"]
    assert name_of(start_of(noon, 86_400), 86_400) == "2020-05-06"
