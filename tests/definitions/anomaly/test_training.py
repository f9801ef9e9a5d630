"""A corpus of a few short series: what it costs to be wrong, and that nothing after the probation is used."""

from __future__ import annotations

import json
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest
from pipelines.anomaly import detector, judging, nab, steps
from pipelines.anomaly.corpus import Telemetry, corpus
from pipelines.anomaly.parameters import Parameters

from tidegate.domain.errors import InvalidInput

PARAMETERS = {"window": 60, "quiet": 6, "alarms_a_week": 2.0, "reference_rows": 30}
START = datetime(2015, 1, 1)


def readings(name: str = "kind/one", rows: int = 400, jump: int | None = 300, seed: int = 3) -> pl.DataFrame:
    values = np.random.default_rng(seed).normal(size=rows)
    incident = np.full(rows, None)
    if jump is not None:
        values[jump] += 40
        incident[jump - 5 : jump + 5] = 0
    return pl.DataFrame(
        {
            "series": [name] * rows,
            "number": np.arange(rows),
            "at": [START + timedelta(minutes=5 * i) for i in range(rows)],
            "value": values,
            "incident": pl.Series(incident.tolist(), dtype=pl.Int64),
        }
    )


@pytest.fixture
def found() -> list[Telemetry]:
    return corpus(pl.concat([readings(), readings("artificialNoAnomaly/quiet", jump=None, seed=4)]))


def test_incidents_are_read_as_first_and_last_reading(found: list[Telemetry]):
    assert [(each.name, each.incidents) for each in found] == [("artificialNoAnomaly/quiet", ()), ("kind/one", ((295, 304),))]


def test_the_losses_add_up_to_what_the_benchmark_takes_off(found: list[Telemetry]):
    scores = [detector.series_scores(each.values, 60, 6) for each in found]
    table = judging.losses(found, scores, 0.1, "model")
    raw = nab.raw(judging.points(found, scores), 0.1, nab.STANDARD)
    assert table["loss_model"].sum() == pytest.approx(1 - raw)
    assert (table["loss_model"] >= 0).all()


def test_what_comes_after_the_probation_does_not_move_the_threshold(found: list[Telemetry]):
    parameters = Parameters.of(PARAMETERS)
    chosen = steps._threshold(found, steps._scores(found, parameters), parameters)
    later = [
        Telemetry(t.name, np.where(np.arange(len(t)) < nab.probation(len(t)), t.values, 1e6), t.at, t.incidents) for t in found
    ]
    assert steps._threshold(later, steps._scores(later, parameters), parameters) == chosen


def test_alarms_a_week_are_counted_outside_incidents(found: list[Telemetry]):
    scores = [np.zeros(len(each)) for each in found]
    scores[1][[299, 390]] = 1.0
    made = judging.alarms(found, scores, 0.5)
    weeks = sum(each.weeks(nab.probation(len(each)), len(each) - 1) for each in found)
    assert made == {"false_alarms_a_week_without_anomaly": 0, "false_alarms_a_week": pytest.approx(1 / weeks)}


def test_parameters_are_all_named_and_fit_together():
    with pytest.raises(InvalidInput, match="'windows' is unknown or missing"):
        Parameters.of({**PARAMETERS, "windows": 3})
    with pytest.raises(InvalidInput, match="quiet < window"):
        Parameters.of({**PARAMETERS, "quiet": 60})
    assert json.dumps(PARAMETERS)


def test_the_reference_has_readings_that_are_new(found: list[Telemetry]):
    parameters = Parameters.of(PARAMETERS)
    windows = steps._some_windows(found, steps._scores(found, parameters), parameters)
    assert len(windows) == 31
    assert detector.scores(windows, parameters.quiet).max() > 0
