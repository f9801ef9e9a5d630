"""The shipped file, whole: every line is accounted for, and the dates of orders are what they were before a spreadsheet."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import polars as pl
import pytest

from tidegate.adapters.files.dataset_files import DatasetFiles
from tidegate.data.dataset import load_dataset
from tidegate.data.ingest import ingest

FEATURES = Path(__file__).parents[3] / "features"
SOURCE = FEATURES / "data" / "scms_shipments.csv.gz"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("shipments")
    report = ingest(load_dataset(FEATURES / "shipments.py"), DatasetFiles([SOURCE]), out / "data")
    assert report.rows_in == 10_324
    assert report.counts == {"shipments": 10_319, "quarantine": 5}
    assert report.reasons == {"before_its_order": 5}
    return out / "data"


def test_a_line_is_counted_from_its_order_or_its_schedule(data: Path) -> None:
    shipments = pl.read_parquet(data / "shipments.parquet")
    counted = dict(shipments["counted_from"].value_counts().iter_rows())
    assert counted == {"order": 4_587, "schedule": 5_732}
    assert shipments.filter(pl.col("counted_from") == "order")["days"].min() == 0
    assert shipments.select((pl.col("known").dt.date() >= pl.col("delivered")).all()).item()
    assert shipments.select(pl.col("weight_kg").is_null().mean()).item() == pytest.approx(0.38, abs=0.01)


def test_dates_that_a_spreadsheet_took_apart_are_put_together(data: Path) -> None:
    raw = pl.read_csv(SOURCE, infer_schema=False).select(
        line="ID", text="PO Sent to Vendor Date", delivered=pl.col("Delivered to Client Date").str.to_date("%d-%b-%y")
    )
    mangled = raw.filter(pl.col("text").str.contains(r"^\d{4}-"))
    as_it_stands = pl.col("text").str.to_date("%Y-%m-%d")
    assert len(mangled) == 1_712
    assert mangled.filter(as_it_stands > pl.col("delivered")).height == 132
    assert mangled.select(as_it_stands.dt.day().is_between(6, 15).all()).item()
    quarantined = pl.read_parquet(data / "quarantine.parquet").height
    shipments = pl.read_parquet(data / "shipments.parquet")
    mended = mangled.join(shipments.select("line", "ordered"), on="line")
    assert len(mangled) - len(mended) == 1 <= quarantined
    one = mended.filter(pl.col("text") == "2010-09-14")
    assert set(one["ordered"]) == {date(2014, 10, 9)}
