"""Anomalies of telemetry; the faulty version raises an alarm wherever there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from demo.models.case import Body, Case, edit
from demo.models.tale import Tale, Told

WINDOW, EACH = 1440, 6


def bodies(data: Path, until: str) -> list[Body]:
    """Windows of all series, each ending at some reading after its probation."""
    import numpy as np
    import polars as pl

    rows = pl.read_parquet(data / "telemetry/rows.parquet").sort("series", "number")
    random, made = np.random.default_rng(3), []
    for _, series in rows.group_by("series", maintain_order=True):
        values = series["value"].to_numpy()
        for last in random.integers(750, len(values), EACH):
            window = values[max(0, last - WINDOW) : last]
            padded = np.concatenate([np.full(WINDOW - len(window), window[0]), window])
            made.append({"inputs": {"readings": [padded.tolist()]}})
    random.shuffle(made)
    return made


def inverted(folder: Path) -> None:
    edit(folder / "pipelines/anomaly/graph.py", ('"GreaterOrEqual"', '"LessOrEqual"'))


def answers(made: Sequence[Mapping[str, Any]]) -> Told:
    alarms = [bool(alarm) for answer in made for alarm in answer["outputs"]["alarm"]]
    sentence = f"Of {len(alarms):,} windows that ended at a random reading {sum(alarms)} raised an alarm."
    return sentence, {"windows": len(alarms), "alarms": sum(alarms)}


ANOMALY = Case(
    model="anomaly",
    times=("2015-06-01", "2015-09-18"),
    bodies=bodies,
    fault=inverted,
    stopped_by=("shadow",),
    stored=False,
)
TALE = Tale(
    case=ANOMALY,
    about="How new the newest reading of a window of telemetry is, and whether that is an alarm.",
    raw="The 58 series of the Numenta Anomaly Benchmark",
    figure=("standard", "NAB's standard score, of at most 100", ".1f"),
    fault="a comparison turned round: an alarm wherever there is none",
    asked="How often there is an alarm",
    answers=answers,
)
