"""The blocks of docs/datasets.md, as they stand there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import polars as pl

from tidegate.adapters.files.dataset_files import DatasetFiles
from tidegate.adapters.files.project_file import load_project
from tidegate.data.ingest import ingest

PAGE = (Path(__file__).parents[2] / "docs/datasets.md").read_text()
ROWS = """\
ID,Country,Delivered to Client Date,Weight (Kilograms)
1,Kenya,02-Jun-14,13
2,Kenya,03-Jun-14,See DN-304 (ID#:10589)
3,Haiti,05-Jun-14,0
3,Haiti,05-Jun-14,0
4,Haiti,05-Jun-41,7
5,Haiti,06/05/14,7
"""


def block(kind: str) -> str:
    found = re.search(rf"^```{kind}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


def test_the_definition_of_the_page_sorts_shipments(tmp_path: Path) -> None:
    names: dict[str, Any] = {}
    exec(compile(block("python"), "docs/datasets.md", "exec"), names)  # noqa: S102 (what this page says)
    (tmp_path / "a.csv").write_text(ROWS)
    report = ingest(names["DATASET"], DatasetFiles([tmp_path / "a.csv"]), tmp_path / "out")
    assert report.counts == {"rows": 2, "quarantine": 4}
    assert report.reasons == {"duplicate": 1, "invalid_delivered": 1, "no_weight": 1, "time_gap": 1}
    assert pl.read_parquet(tmp_path / "out/rows.parquet")["weight"].to_list() == [13.0, None]


def test_the_project_file_of_the_page_is_read(tmp_path: Path) -> None:
    text = "apiVersion: tidegate/v1\nproject: page\n" + block("yaml") + "    monitor: m.yaml\n"
    (tmp_path / "tidegate.yaml").write_text(text)
    project = load_project(tmp_path, check_files=False, environ={})
    assert project.model("lead_time").datasets == ("shipments",)
    assert len(project.dataset("shipments").sources) == 2
