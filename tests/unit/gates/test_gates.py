"""Parity, shadow and drift: pass, failure, no data, NaN."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from release_fixture import (
    CONTRACT_VALUE,
    VECTOR,
    WINDOW,
    FakeMeter,
    FakeRecords,
    FakeScorer,
    Stage,
    ask,
    records,
    stage,
    vectors,
    with_changed_file,
)

from tidegate.domain.contract import FeatureContract
from tidegate.domain.verdict import Verdict
from tidegate.files.release_folder import THRESHOLDS
from tidegate.gates.columns import Columns
from tidegate.gates.watch import watch
from tidegate.gates.window import Window, keyed_window


@pytest.fixture
def here(tmp_path: Path) -> Stage:
    return stage(tmp_path)


class FakeStore:
    """Answers what it was given, row by row."""

    def __init__(self, features: np.ndarray) -> None:
        self.features = features

    def historical(self, contract: FeatureContract, entity_rows: pl.DataFrame) -> pl.DataFrame:
        assert entity_rows.columns == ["sku", "event_timestamp", "horizon"]
        assert entity_rows.schema["event_timestamp"] == pl.Datetime("us", "UTC")
        return entity_rows.head(len(self.features)).with_columns(
            pl.Series(name, self.features[:, i]) for i, name in enumerate(contract.vector)
        )


def parity(here: Stage, online: np.ndarray, offline: np.ndarray):
    served = FakeRecords(records(here.candidate, online, shadow=True))
    return ask("parity", here.context, served, features=FakeStore(offline))


def test_parity_passes_on_equal_bits_and_equal_nans(here: Stage) -> None:
    served = vectors(600, 3)
    served[::7, 0] = np.nan
    result = parity(here, served, served.copy())
    assert result.verdict is Verdict.PASS
    assert result.evidence.numbers == {"compared": 600, "values": 1800, "differing": 0}


def test_parity_names_the_feature_and_the_first_example(here: Stage) -> None:
    served = vectors(600, 3)
    stored = served.copy()
    served[5, 1], stored[5, 1] = 295.0, 2.95
    served[9, 0] = np.nextafter(served[9, 0], np.float32(1e9))  # one bit
    served[11, 0] = np.nan
    result = parity(here, served, stored)
    assert result.verdict is Verdict.FAIL
    assert result.evidence.numbers["differing"] == 3
    notes = {f.subject: f.note for f in result.evidence.findings}
    assert notes["demand__price"] == "sku=sku5 demand__price offline=2.95000005 online=295"
    assert set(notes) == {"demand__price", "demand__units"}


def test_parity_without_enough_data_or_with_lost_rows_never_passes(here: Stage) -> None:
    assert parity(here, vectors(0, 3), vectors(0, 3)).verdict is Verdict.INCONCLUSIVE
    assert parity(here, vectors(30, 3), vectors(30, 3)).verdict is Verdict.INCONCLUSIVE
    lost = parity(here, vectors(600, 3), vectors(599, 3))
    assert lost.verdict is Verdict.ERROR
    assert "no row may be lost" in lost.evidence.summary


def drift(here: Stage, seen: np.ndarray):
    return ask("drift", here.context, FakeRecords(records(here.candidate, seen, shadow=True)), meter=FakeMeter())


def test_drift_passes_on_the_same_distribution(here: Stage) -> None:
    result = drift(here, vectors(WINDOW + 50, 11))
    assert result.verdict is Verdict.PASS
    assert result.evidence.numbers["kind"] == "none"
    *columns, period = result.evidence.findings
    assert {f.subject for f in columns} == set(VECTOR[:2])  # the excluded one is not looked at
    assert (period.subject, period.note) == (
        "reference period",
        "from 2011-01-01 to 2011-01-20, which is not a year: a season that it does not hold is drift",
    )


def test_pence_instead_of_pounds_is_a_fault_named_with_its_factor(here: Stage) -> None:
    seen = vectors(WINDOW, 11)
    seen[:, 1] *= 100
    result = drift(here, seen)
    assert result.verdict is Verdict.FAIL
    assert result.evidence.numbers["kind"] == "fault"
    assert result.evidence.findings[0].subject == "demand__price"
    assert "fault of unit or scale" in result.evidence.summary
    assert "demand__price" in result.evidence.summary


def test_a_rise_in_demand_is_drift_and_no_fault(here: Stage) -> None:
    seen = vectors(WINDOW, 11)
    seen[:, 0] = np.floor(seen[:, 0] * 2.5)
    result = drift(here, seen)
    assert result.verdict is Verdict.FAIL
    assert result.evidence.numbers["kind"] == "drift"
    assert [f.subject for f in result.evidence.findings if not f.ok] == ["demand__units"]


@pytest.mark.parametrize(("share", "kind"), [(0.2, "drift"), (1.0, "fault")])
def test_missing_values_are_a_signal_of_their_own(here: Stage, share: float, kind: str) -> None:
    seen = vectors(WINDOW, 11)
    seen[: int(WINDOW * share), 1] = np.nan
    result = drift(here, seen)
    assert result.verdict is Verdict.FAIL
    assert result.evidence.numbers["kind"] == kind


def test_drift_without_a_full_window_or_with_nan_thresholds_never_passes(here: Stage) -> None:
    assert drift(here, vectors(0, 1)).verdict is Verdict.INCONCLUSIVE
    assert drift(here, vectors(WINDOW - 1, 1)).verdict is Verdict.INCONCLUSIVE
    old = replace(here.context, since=1e9)
    seen = FakeRecords(records(here.candidate, vectors(WINDOW, 1), shadow=True))
    assert ask("drift", old, seen, meter=FakeMeter()).verdict is Verdict.INCONCLUSIVE
    text = (here.folder / THRESHOLDS).read_text().replace('"threshold":', '"threshold":NaN,"was":')
    changed = with_changed_file(here, THRESHOLDS, text.encode())
    seen = FakeRecords(records(changed.candidate, vectors(WINDOW, 1), shadow=True))
    assert ask("drift", changed, seen, meter=FakeMeter()).verdict is Verdict.ERROR


def test_a_profile_that_was_changed_is_an_error(here: Stage) -> None:
    (here.folder / THRESHOLDS).write_text("{}")
    assert drift(here, vectors(WINDOW, 1)).verdict is Verdict.ERROR


def test_the_watch_asks_to_freeze_and_retrain_in_the_week_that_drifts(here: Stage) -> None:
    week = 7 * 86_400_000_000
    calm = records(here.active, vectors(WINDOW, 5), shadow=False)
    moved = vectors(WINDOW, 6)
    moved[:, 0] *= 3
    moved_records = [replace(r, event_times=r.event_times + week) for r in records(here.active, moved, shadow=False)]
    assert here.context.active_folder is not None
    seen = watch(here.active, here.context.active_folder, FakeRecords(calm, moved_records), FakeMeter())
    assert [(w.result.verdict, w.freeze, w.retrain) for w in seen] == [
        (Verdict.PASS, False, False),
        (Verdict.FAIL, True, True),
    ]
    assert [w.window for w in seen] == ["2010-12-27", "2011-01-03"]
    empty = watch(here.active, here.context.active_folder, FakeRecords(), FakeMeter())
    assert [w.result.verdict for w in empty] == [Verdict.INCONCLUSIVE]


def test_a_window_counts_each_key_once_and_prefers_no_horizon(here: Stage) -> None:
    columns, seen = Columns(CONTRACT_VALUE), vectors(12, 5)

    def vectors_of(window: Window) -> np.ndarray:
        return np.stack([np.asarray(window.column(name)) for name in VECTOR], axis=1)

    one = replace(records(here.candidate, seen, shadow=True, a_request=12)[0], entities=("a",) * 7 + ("b",) * 5)
    for id in ("first", "second"):
        window = keyed_window([replace(one, id=id)], 100, columns.of_record)
        assert sorted(window.keys) == ["a", "b"]
        chosen = vectors_of(window)[np.argsort(window.keys)]
        assert sum((chosen[0] == row).all() for row in seen[:7]) == sum((chosen[1] == row).all() for row in seen[7:]) == 1
    drawn = {vectors_of(keyed_window([replace(one, id=str(n))], 100, columns.of_record)).tobytes() for n in range(40)}
    assert len(drawn) > 10
    assert len(keyed_window([one] * 9, 100, columns.of_record)) == 2
    later = replace(one, event_times=one.event_times + 86_400_000_000)
    assert len(keyed_window([one, later], 100, columns.of_record)) == 4


def shadow(here: Stage, ours: list, theirs: list, factor: float = 1.05):
    return ask("shadow", here.context, FakeRecords(ours, theirs), scorer=FakeScorer({"2": factor, "1": 1.0}))


def test_shadow_passes_where_the_models_disagree_as_on_the_reference(here: Stage) -> None:
    seen = vectors(900, 5)
    result = shadow(here, records(here.candidate, seen, shadow=True, factor=1.05), records(here.active, seen, shadow=False))
    assert result.verdict is Verdict.PASS, result.evidence.summary
    assert result.evidence.numbers["joined"] == 300


def test_shadow_names_output_and_the_input_that_differs(here: Stage) -> None:
    seen = vectors(900, 5)
    pence = seen.copy()
    pence[:, 1] *= 100
    ours = records(here.candidate, pence, shadow=True, factor=2.0)
    result = shadow(here, ours, records(here.active, seen, shadow=False))
    assert result.verdict is Verdict.FAIL
    assert "units_q50" in result.evidence.summary
    assert "demand__price in 100% of rows, typically x100" in result.evidence.summary


@pytest.mark.parametrize(
    ("changes", "named"),
    [({"status": 503}, "error rate"), ({"latency_ms": 900.0}, "slow rate"), ({"latency_ms": float("nan")}, "slow rate")],
)
def test_shadow_fails_on_errors_and_slowness(here: Stage, changes: dict[str, float], named: str) -> None:
    seen = vectors(60, 5)  # far fewer than the minimum: harm does not wait
    result = shadow(here, records(here.candidate, seen, shadow=True, **changes), records(here.active, seen, shadow=False))
    assert result.verdict is Verdict.FAIL
    assert named in result.evidence.summary


def test_shadow_fails_on_requests_that_were_not_mirrored_and_on_nan(here: Stage) -> None:
    seen = vectors(900, 5)
    live = records(here.active, seen, shadow=False)
    ours = records(here.candidate, seen, shadow=True, factor=1.05)
    partial = shadow(here, [r for i, r in enumerate(ours) if i % 5], live)
    assert partial.verdict is Verdict.FAIL
    assert "unmatched requests" in partial.evidence.summary
    broken = [replace(r, outputs={"units_q50": r.outputs["units_q50"] * np.float32("nan")}) for r in ours]
    assert shadow(here, broken, live).verdict is Verdict.FAIL


def test_shadow_without_data_or_without_an_active_release_is_inconclusive(here: Stage) -> None:
    assert shadow(here, [], []).verdict is Verdict.INCONCLUSIVE
    seen = vectors(900, 5)
    assert shadow(here, [], records(here.active, seen, shadow=False)).verdict is Verdict.INCONCLUSIVE
    alone = replace(here.context, active=None, active_folder=None)
    assert ask("shadow", alone, FakeRecords(), scorer=FakeScorer({})).verdict is Verdict.INCONCLUSIVE
