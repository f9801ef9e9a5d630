"""The datasets of images and of telemetry: every row of what ships is taken, and what it is said to be."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from tidegate.adapters.files.dataset_files import DatasetFiles
from tidegate.data.dataset import load_dataset
from tidegate.data.ingest import ingest

FEATURES = Path(__file__).parents[2] / "features"


@pytest.fixture(params=["telemetry", "products"])
def rows(request: pytest.FixtureRequest, tmp_path: Path) -> pl.DataFrame:
    dataset = load_dataset(FEATURES / f"{request.param}.py")
    source = DatasetFiles([FEATURES / f"data/{request.param}.parquet"], dataset.csv)
    report = ingest(dataset, source, tmp_path / "out")
    assert report.counts == {"rows": report.rows_in, "quarantine": 0}
    return pl.read_parquet(tmp_path / "out/rows.parquet")


def test_every_row_that_ships_is_taken(rows: pl.DataFrame):
    if "image" in rows.columns:
        assert (len(rows), rows["category"].n_unique(), rows["image"].bin.size().unique().to_list()) == (12_000, 10, [784])
    else:
        incidents = rows.drop_nulls("incident").select(pl.struct("series", "incident").n_unique()).item()
        assert (len(rows), rows["series"].n_unique(), incidents) == (365_558, 58, 116)
