"""Lead times of shipments; the faulty version has learned weeks for days."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from demo.models.case import Body, Case, edit
from demo.models.tale import Tale, Told

ASKED = ("vendor", "country", "mode", "counted_from", "incoterm", "product_class", "dosage_form", "first_line", "quantity")


def lighten(folder: Path) -> None:
    # fewer origins: what is shown is the way, not the model
    edit(folder / "pipelines/lead_time/pipeline.py", ('"origins": 6', '"origins": 2'))


def bodies(data: Path, until: str) -> list[Body]:
    """What was asked in the year before `until`, as the service wants it: of countries that were delivered to before that year,
    for lanes to new countries are drift, and a window counts each lane once."""
    import polars as pl

    shipments = pl.read_parquet(data / "shipments/shipments.parquet")
    moment = pl.lit(until).str.to_datetime(time_zone="UTC")
    before = shipments.filter(pl.col("known") < moment - pl.duration(days=540))["country"].value_counts()
    usual = before.filter(pl.col("count") >= 30)["country"].to_list()
    known = shipments.filter(pl.col("known") < moment).tail(1500).filter(pl.col("country").is_in(usual))
    rows = known.select(*ASKED, "pack_price", month=pl.coalesce("ordered", "scheduled").dt.month()).to_dicts()
    return [{"shipments": rows[n : n + 2]} for n in range(0, len(rows) - 1, 2)]


def weeks(folder: Path) -> None:
    edit(folder / "features/shipments.py", (".dt.total_days().cast(pl.Float64)", ".dt.total_days().cast(pl.Float64) / 7"))


def answers(made: Sequence[Mapping[str, Any]]) -> Told:
    times = [each for answer in made for each in answer["lead_times"]]
    width = sum(each["q90"] - each["q10"] for each in times) / len(times)
    by_question = {asked: [each["q50"] for each in times if each["counted_from"] == asked] for asked in ("order", "schedule")}
    medians = {asked: sorted(found)[len(found) // 2] for asked, found in by_question.items() if found}
    told = ", ".join(f"{days:.0f} days from the {asked}" for asked, days in medians.items())
    sentence = f"Of {len(times):,} shipments asked half are expected within {told}; the band of 80 % is {width:.0f} days wide."
    return sentence, {"shipments": len(times), "median_days": medians, "mean_width_days": width}


LEAD_TIME = Case(
    model="lead_time",
    times=("2015-07-01", "2015-09-15"),
    bodies=bodies,
    lighten=lighten,
    fault=weeks,
    stopped_by=("shadow", "drift"),
)
TALE = Tale(
    case=LEAD_TIME,
    about="Days from order or schedule to delivery of a shipment, as quantiles.",
    raw="Every delivery of a public supply chain, nine years of them, with mangled dates",
    figure=("pinball", "Pinball loss in days, on deliveries that came after what was known", ".2f"),
    fault="a definition that counts weeks for days",
    asked="How long shipments take",
    answers=answers,
)
