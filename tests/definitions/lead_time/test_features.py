"""What was known of a lane when a question was asked, and nothing else."""

from __future__ import annotations

import runpy
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
from pipelines.lead_time.questions import LEAD, questions

from definitions.lead_time.deliveries import UNTIL, deliveries

REPO = Path(__file__).parents[3] / "features" / "lead_time"
TABLES = runpy.run_path(str(REPO / "lead_time_tables.py"))
build, VIEWS = TABLES["build"], TABLES["VIEWS"]


def test_a_row_knows_what_was_recorded_before_its_midnight() -> None:
    shipments = deliveries()
    history = build({"shipments": shipments}, UNTIL)["vendor_history"].filter(pl.col("vendor") == "slow")
    at = history["event_timestamp"][200]
    known = shipments.filter(pl.col("vendor") == "slow", pl.col("counted_from") == "order", pl.col("known") < at).sort(
        "known", "line"
    )
    row = history.row(200, named=True)
    assert row["vendor_order_q50"] == known["days"].tail(40).median()
    assert row["vendor_name"] == "slow"


def test_a_table_of_the_past_is_the_past_of_the_table() -> None:
    shipments, cut = deliveries(), datetime(2012, 3, 1, tzinfo=UTC)
    whole = build({"shipments": shipments}, UNTIL)
    past = build({"shipments": shipments.filter(pl.col("known") < cut)}, cut)
    for view in VIEWS:
        assert whole[view].filter(pl.col("event_timestamp") <= cut).equals(past[view]), view


def test_a_view_has_one_row_a_key_and_day() -> None:
    for view, table in build({"shipments": deliveries()}, UNTIL).items():
        keys = [*VIEWS[view][0], "event_timestamp"]
        assert table.select(pl.struct(keys).is_unique().all()).item(), view
        assert set(table.select(pl.selectors.numeric()).dtypes) == {pl.Float64}


def test_a_question_about_an_order_is_asked_when_it_is_sent_and_one_about_a_schedule_ahead_of_it() -> None:
    asked = questions(deliveries(), UNTIL)
    order, schedule = (asked.filter(pl.col("counted_from") == basis) for basis in ("order", "schedule"))
    made = deliveries()
    first_order = made.filter(pl.col("line") == order["line"][0])
    assert order["event_timestamp"][0].date() == first_order["ordered"][0]
    first_schedule = made.filter(pl.col("line") == schedule["line"][0])
    assert schedule["event_timestamp"][0].date() == first_schedule["scheduled"][0] - LEAD
    assert (asked["known"] >= asked["event_timestamp"]).all()


def test_a_shipment_that_had_come_before_the_question_is_not_asked_about() -> None:
    early = (
        deliveries()
        .head(1)
        .with_columns(
            counted_from=pl.lit("schedule"),
            ordered=None,
            scheduled=pl.lit(date(2010, 6, 1)),
            delivered=pl.lit(date(2010, 1, 1)),
        )
    )
    assert questions(early, UNTIL).is_empty()
    in_time = early.with_columns(delivered=pl.lit(date(2010, 6, 1)) - timedelta(days=30))
    assert len(questions(in_time, UNTIL)) == 1
