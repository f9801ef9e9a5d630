"""Columns of bytes: images go through an ingestion as they are."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from tidegate.adapters.files.dataset_files import DatasetFiles
from tidegate.data.dataset import Column, Dataset, Rule
from tidegate.data.ingest import ingest
from tidegate.domain.errors import InvalidInput

PICTURES = Dataset(
    name="pictures",
    columns={"item": Column(("item",), "identifier"), "image": Column(("image",), "bytes")},
    identity=("item",),
    rules=(Rule("no_image", pl.col("image").bin.size() != 4, "not four pixels"),),
)


def test_bytes_stay_as_they_are_and_a_refused_row_says_how_many_they_were(tmp_path: Path):
    images = [bytes([0, 1, 254, 255]), b"\x00\xff"]
    pl.DataFrame({"item": ["a", "b"], "image": images}).write_parquet(tmp_path / "p.parquet")
    report = ingest(PICTURES, DatasetFiles([tmp_path / "p.parquet"]), tmp_path / "out")
    assert report.counts == {"rows": 1, "quarantine": 1}
    assert pl.read_parquet(tmp_path / "out/rows.parquet")["image"].to_list() == images[:1]
    refused = pl.read_parquet(tmp_path / "out/quarantine.parquet").row(0, named=True)
    assert (refused["reason"], refused["original"]) == ("no_image", '{"item":"b","image":"2 bytes"}')


def test_texts_where_bytes_are_wanted_refuse_the_file(tmp_path: Path):
    pl.DataFrame({"item": ["a"], "image": ["AAEC"]}).write_parquet(tmp_path / "p.parquet")
    with pytest.raises(InvalidInput, match="column 'image' is of type String, required: bytes"):
        ingest(PICTURES, DatasetFiles([tmp_path / "p.parquet"]), tmp_path / "out")
