"""A training through kfp's local runner on part of the shipped sample: a feature that looks ahead stops it, by its name."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import polars as pl
import pytest

from story import ROOT, TIDEGATE, copy_project, plain_environment

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
SKUS = 40
LEAK = '''

_honest = build


def build(data, until):
    """`units_recent` of the day after: what a careless shift does."""
    tables = _honest(data, until)
    history = tables["demand_history"].sort("sku", "event_timestamp")
    ahead = pl.col("units_recent").shift(-1).over("sku").fill_null(0.0)
    return {**tables, "demand_history": history.with_columns(units_recent=ahead)}
'''


@pytest.fixture
def project(tmp_path: Path) -> Path:
    copy_project(tmp_path)
    lines = pl.read_parquet(ROOT / "features/data/online_retail_year2.parquet")
    some = lines["StockCode"].value_counts(sort=True).head(4 * SKUS)["StockCode"].sort()[::4].to_list()
    for year in ("year1", "year2"):
        path = tmp_path / f"features/data/online_retail_{year}.parquet"
        kept = pl.read_parquet(path).filter(pl.col("StockCode").is_in(some))
        path.unlink()
        kept.write_parquet(path)
    definition = tmp_path / "pipelines/demand/pipeline.py"
    text = definition.read_text()
    for name, value in {"trees": 10, "training_rows": 6000, "reference_rows": 2000, "origins": 2}.items():
        text, replaced = re.subn(rf'"{name}": [\d_]+', f'"{name}": {value}', text)
        assert replaced == 1, name
    definition.write_text(text)
    return tmp_path


def tidegate(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**plain_environment(), "PYTHONPATH": str(ROOT / "platform"), "NO_COLOR": "1"}
    return subprocess.run(
        [TIDEGATE, *arguments], cwd=project, env=environment, text=True, capture_output=True, timeout=240, check=False
    )


def test_a_planted_leak_stops_the_training_by_its_name(project: Path) -> None:
    assert tidegate(project, "ingest", "demand").returncode == 0
    tables = project / "features/demand_tables.py"
    honest = tables.read_text()
    tables.write_text(honest + LEAK)
    refused = tidegate(project, "train", "demand", "--until", "2011-09-05")
    assert refused.returncode == 2, refused.stderr
    last = refused.stderr.strip().splitlines()[-1]
    assert "step 'validate' failed" in last
    assert "demand_history:units_recent" in last
    assert "with those before the cutoff" in last
    assert "Traceback" not in refused.stderr
    assert "no registered version" in tidegate(project, "promote", "demand").stderr

    tables.write_text(honest)  # that these pass, and train, is part of the demo
    early = tidegate(project, "train", "demand", "--until", "2009-12-20")
    assert early.returncode == 2
    assert early.stderr.strip().splitlines()[-1].startswith("error: ")
    assert "Traceback" not in early.stderr
