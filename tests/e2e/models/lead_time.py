"""Lead times of shipments; the faulty version has learned weeks for days."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from e2e.models.case import Body, Case, edit
from story import copy_project


def copy(folder: Path) -> str:
    ports = copy_project(folder)
    edit(folder / "tidegate.yaml", ("replicas: 2", "replicas: 1"))
    # fewer origins: what is tested is the way, not the model
    edit(folder / "pipelines/lead_time/pipeline.py", ('"origins": 6', '"origins": 3'))
    return f"http://127.0.0.1:{ports['gatewayPort']}"


def bodies(folder: Path, until: str) -> list[Body]:
    """What was asked in the year before `until`, as the service wants it: of countries that were delivered to before that year,
    for lanes to new countries are drift, and a window counts each lane once."""
    shipments = pl.read_parquet(folder / "build/state/data/shipments/shipments.parquet")
    moment = pl.lit(until).str.to_datetime(time_zone="UTC")
    before = shipments.filter(pl.col("known") < moment - pl.duration(days=540))["country"].value_counts()
    usual = before.filter(pl.col("count") >= 30)["country"].to_list()
    known = shipments.filter(pl.col("known") < moment).tail(1500).filter(pl.col("country").is_in(usual))
    fields = ("vendor", "country", "mode", "counted_from", "incoterm", "product_class", "dosage_form", "first_line", "quantity")
    rows = known.select(*fields, "pack_price", month=pl.coalesce("ordered", "scheduled").dt.month()).to_dicts()
    return [{"shipments": rows[n : n + 2]} for n in range(0, len(rows) - 1, 2)]


def weeks(folder: Path) -> None:
    edit(folder / "features/shipments.py", (".dt.total_days().cast(pl.Float64)", ".dt.total_days().cast(pl.Float64) / 7"))


LEAD_TIME = Case(
    model="lead_time",
    copy=copy,
    times=("2015-07-01", "2015-09-15"),
    bodies=bodies,
    fault=weeks,
    stopped_by=("shadow", "drift"),
)
