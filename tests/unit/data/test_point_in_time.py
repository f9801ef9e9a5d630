"""The point-in-time check finds planted leaks by name, passes the shipped definition, and never passes on nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tidegate.data.model_data import ModelData, Timing, read_data
from tidegate.data.point_in_time import check
from tidegate.data.tables import TIME, checked_tables
from tidegate.data.tables_definition import Tables, load_build
from tidegate.domain.errors import InvalidInput, NotFound

REPO = Path(__file__).parents[3] / "features"
BUILD = load_build(REPO / "demand_tables.py")
START = datetime(2010, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def lines() -> ModelData:
    """A shop of six SKUs over 500 days, and its returns."""
    generator = np.random.default_rng(7)
    n = 4000
    minutes = np.sort(generator.integers(0, 500 * 1440, n))
    sales = pl.DataFrame(
        {
            "invoice": [str(i // 3) for i in range(n)],
            "sku": generator.choice([f"1000{i}" for i in range(6)], n),
            "units": generator.integers(1, 20, n),
            "at": [START + timedelta(minutes=int(m)) for m in minutes],
            "unit_price": generator.choice([0.4, 1.5, 3.0, 9.0], n),
            "country": generator.choice(["United Kingdom", "France"], n),
        }
    ).with_columns(pl.col("at").cast(pl.Datetime("us", "UTC")))
    timing = Timing("at", timedelta(days=1), timedelta(days=60))
    classes = {"sales": sales, "returns": sales.sample(200, seed=1).sort("at")}
    return ModelData(classes, dict.fromkeys(classes, timing))


def leaking(leak: Callable[[pl.DataFrame], pl.DataFrame]) -> Callable[..., Tables]:
    def build(data: Mapping[str, pl.DataFrame], until: datetime) -> Tables:
        tables = BUILD(data, until)
        return {**tables, "demand_history": leak(tables["demand_history"])}

    return build


def test_the_shipped_features_do_not_look_ahead(lines: ModelData) -> None:
    findings = check(BUILD, lines, ["sku"])
    assert [finding.ok for finding in findings] == [True]
    assert findings[0].observed > 10_000


TODAY = pl.col("units_lag_1")
LEAKS = {
    "tomorrow": TODAY.shift(-1).over("sku"),
    "centred_week": TODAY.rolling_mean(7, center=True).over("sku"),
    "whole_history": TODAY.mean().over("sku"),
    "seen_everywhere": TODAY.rank().cast(pl.Float64),
}


@pytest.mark.parametrize("name", LEAKS)
def test_a_planted_leak_is_named_with_sku_timestamp_and_both_values(lines: ModelData, name: str) -> None:
    findings = check(leaking(lambda table: table.with_columns(LEAKS[name].alias(name))), lines, ["sku"])
    assert [finding.subject for finding in findings] == [f"demand_history:{name}"]
    assert not findings[0].ok
    assert "sku=1000" in findings[0].note
    assert "event_timestamp=20" in findings[0].note
    assert "with all rows" in findings[0].note


def test_a_table_stamped_a_day_early_is_named(lines: ModelData) -> None:
    findings = check(leaking(lambda table: table.with_columns(pl.col(TIME) - timedelta(days=1))), lines, ["sku"])
    assert "demand_history:*" in [finding.subject for finding in findings]
    assert not any(finding.ok for finding in findings)


def test_one_feature_taken_a_day_early_is_named(lines: ModelData) -> None:
    def build(data: Mapping[str, pl.DataFrame], until: datetime) -> Tables:
        tables = BUILD(data, until)
        early = tables["demand_history"].select("sku", pl.col(TIME) - timedelta(days=1), early=TODAY)
        return {"demand_history": tables["demand_history"].join(early, on=["sku", TIME], how="left")}

    assert [finding.subject for finding in check(build, lines, ["sku"])] == ["demand_history:early"]


def test_nothing_compared_is_never_a_pass(lines: ModelData) -> None:
    empty = check(BUILD, lines.known_before(START))
    after = check(BUILD, lines, cutoffs=[START + timedelta(days=5000)])
    none = check(BUILD, lines, ["sku"], sample=0)
    assert [[finding.ok for finding in findings] for findings in (empty, after, none)] == [[False]] * 3


def test_features_follow_their_definition(lines: ModelData) -> None:
    sales = lines.classes["sales"]
    until = START + timedelta(days=400)
    history = BUILD(lines.classes, until)["demand_history"]
    assert history[TIME].max() == until
    row = history.filter(pl.col("sku") == "10003", pl.col(TIME) == until).row(0, named=True)
    daily = {
        day: units
        for day, units in sales.filter(pl.col("sku") == "10003")
        .group_by(pl.col("at").dt.date())
        .agg(pl.col("units").sum())
        .iter_rows()
    }

    def units(first: int, last: int) -> list[int]:
        return [daily.get((until + timedelta(days=d)).date(), 0) for d in range(first, last + 1)]

    assert row["units_lag_1"] == units(-1, -1)[0]
    assert row["units_lag_7"] == units(-7, -7)[0]
    assert row["units_mean_28"] == pytest.approx(np.mean(units(-28, -1)))
    assert row["last_year_week_1"] == pytest.approx(np.mean(units(-364, -358)))
    assert row["last_year_week_2"] == pytest.approx(np.mean(units(-357, -351)))
    assert row["last_year_before"] == pytest.approx(np.mean(units(-392, -365)))
    mondays = [u for d, u in zip(range(-56, 0), units(-56, -1), strict=True) if (until + timedelta(days=d)).weekday() == 0]
    assert len(mondays) == 8
    assert row["weekday_mean_0"] == pytest.approx(np.mean(mondays))


def test_tables_that_break_the_rules_are_refused_by_name(lines: ModelData, tmp_path: Path) -> None:
    until = lines.until()
    good = BUILD(lines.classes, until)["demand_history"]
    wrong = {
        "two rows": pl.concat([good, good.head(1)]),
        "Float64, Int64, Boolean, String": good.with_columns(pl.col("units_lag_1").cast(pl.Float32)),
        "infinite": good.with_columns(units_lag_1=pl.lit(float("inf"))),
        "none may be after": good.with_columns(pl.col(TIME) + timedelta(days=1)),
        "no rows": good.clear(),
        "without 'sku'": good.with_columns(sku=pl.lit(None, dtype=pl.String)),
    }
    for text, table in wrong.items():
        with pytest.raises(InvalidInput, match=text) as caught:
            checked_tables("demand_tables.py", {"demand_history": table}, until, len(lines))
        assert "demand_history" in str(caught.value)
    with pytest.raises(NotFound, match="tidegate ingest"):
        read_data(tmp_path, ["online_retail"])
