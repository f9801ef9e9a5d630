"""A feature repository of flights: composite and integer keys, numbers, booleans and texts, views with TTLs of their own."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from tidegate.files.feature_folder import FeatureFolder

NOON = datetime(2013, 7, 31, 12, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
CONFIG = """
project: flights
provider: local
registry: {path: registry.db}
offline_store: {type: duckdb}
online_store: {type: tidegate.adapters.feast.packed_store.PackedOnlineStore, url: online.db}
entity_key_serialization_version: 3
"""
VIEWS = """
import os
from datetime import timedelta
from feast import Entity, FeatureService, FeatureView, Field, FileSource
from feast.types import Bool, Float64, Int64, String

airline = Entity(name="airline", join_keys=["carrier"])  # whose name is not that of the join key
number = Entity(name="number", join_keys=["flight"])
shop = Entity(name="shop", join_keys=["store_id"])

def view(name, entities, ttl, **features):
    source = FileSource(
        name=f"{name}_table", path=f"{os.environ['TIDEGATE_FEATURES']}/tables/{name}.parquet", timestamp_field="event_timestamp"
    )
    schema = [Field(name=each, dtype=dtype) for each, dtype in features.items()]
    return FeatureView(name=name, entities=entities, ttl=ttl, schema=schema, source=source)

flights = view(
    "flights", [number, airline], timedelta(days=30),
    carrier=String, flight=Int64, delay=Float64, seats=Int64, red_eye=Bool, aircraft=String,
)
weather = view("weather", [airline], timedelta(hours=12), carrier=String, wind=Float64, sky=String)
days = view("days", [], timedelta(days=2), holiday=Bool, market=Float64)  # what all flights share
shops = view("shops", [shop], timedelta(0), store_id=Int64, revenue=Float64)

FeatureService(name="ignored", features=[shops])
departures = FeatureService(name="departures", features=[flights, weather])
plain = FeatureService(name="plain", features=[flights[["delay"]]])
shared = FeatureService(name="shared", features=[flights[["delay"]], days])
sales = FeatureService(name="sales", features=[shops])
"""
TABLES: dict[str, dict[str, Any]] = {
    "flights": {
        "carrier": ["AA", "AA", "DL", "AA"],
        "flight": [12, 7, 12, 12],
        "event_timestamp": [NOON, NOON, NOON, NOON - 2 * DAY],
        "delay": [4.5, None, -3.0, 99.0],
        "seats": [180, 2**53, None, 1],
        "red_eye": [True, False, None, True],
        "aircraft": ["A320", None, "B737 – größer", "old"],
    },
    "weather": {"carrier": ["AA"], "event_timestamp": [NOON - HOUR], "wind": [11.0], "sky": ["clear"]},
    "days": {"event_timestamp": [NOON - 3 * DAY, NOON - DAY], "holiday": [False, True], "market": [1.0, 2.0]},
    "shops": {"store_id": [-3, 14], "event_timestamp": [NOON, NOON], "revenue": [1.25, 2.5]},
}


def repository(folder: Path, views: str = VIEWS) -> Path:
    folder.mkdir(parents=True)
    (folder / "feature_store.yaml").write_text(CONFIG)
    (folder / "flight_views.py").write_text(views)
    return folder


def write_tables(folder: FeatureFolder, tables: dict[str, dict[str, Any]] | None = None) -> None:
    folder.tables.mkdir(parents=True, exist_ok=True)
    for name, columns in (TABLES if tables is None else tables).items():
        frame = pl.DataFrame(columns).with_columns(pl.col("event_timestamp").cast(pl.Datetime("us", "UTC")))
        frame.write_parquet(folder.tables / f"{name}.parquet")
