"""The calendar of the demand model: target days, closed days, and the choice by horizon."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tidegate.files.source_code import Sources
from tidegate.serving.runtime.vectors import load_on_demand

REPO = Path(__file__).parents[3] / "features"
calendar = load_on_demand(Sources.of(REPO), "demand_calendar.py:calendar")


def derived(origin: str, horizon: int) -> dict[str, float]:
    stored = {
        "units_mean_7": 6.0,
        "units_mean_28": 4.0,
        "last_year_week_1": 1.0,
        "last_year_week_2": 2.0,
        "last_year_before": 4.0,
    }
    stored |= {"market_lift_week_1": 1.5, "market_lift_week_2": 2.0} | {f"weekday_mean_{i}": 10.0 + i for i in range(7)}
    inputs = {f"demand_history__{name}": np.array([value]) for name, value in stored.items()}
    inputs["horizon"] = np.array([horizon])
    inputs["event_timestamp"] = np.array([origin], dtype="datetime64[us]").astype(np.int64)
    return {name: float(values[0]) for name, values in calendar(inputs).items()}


def test_horizon_one_is_the_day_that_begins_at_the_origin() -> None:
    first, last = derived("2011-10-03", 1), derived("2011-10-03", 14)  # a Monday
    assert (first["weekday"], first["weekday_mean"], first["days_to_christmas"]) == (0, 10.0, 83)
    assert (last["weekday"], last["weekday_mean"], last["days_to_christmas"]) == (6, 16.0, 70)
    assert (first["last_year_week"], last["last_year_week"]) == (1.0, 2.0)
    assert (first["expected_units"], last["expected_units"]) == (6.0, 8.0)
    assert (first["trend"], first["last_year_ratio"]) == (1.5, 0.25)


def test_the_shop_is_closed_on_saturdays_and_holidays() -> None:
    closed = ["2011-10-01", "2010-12-24", "2011-01-03", "2011-04-22", "2011-04-24", "2011-04-25", "2011-05-02", "2011-08-29"]
    opened = ["2011-10-02", "2011-10-03", "2010-12-23", "2011-01-04", "2011-04-21", "2011-04-26", "2011-05-09"]
    assert [derived(day, 1)["closed"] for day in closed] == [1.0] * len(closed)
    assert [derived(day, 1)["closed"] for day in opened] == [0.0] * len(opened)
    assert derived("2011-10-01", 1)["weekday_mean"] == 0.0
    assert derived("2010-12-26", 1)["days_to_christmas"] == 364
