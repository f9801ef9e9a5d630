"""The Feast repository is Feast's own: its command registers it and reads the packed online store by the same definitions."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

from tidegate.data.tables import feature_names
from tidegate.data.tables_definition import load_build

REPO = Path(__file__).parents[2] / "features"
PLATFORM = Path(__file__).parents[2] / "platform"
START = datetime(2011, 1, 3, tzinfo=UTC)
READ = """
from feast import FeatureStore
store = FeatureStore(repo_path=".")
store.materialize(datetime(2010, 1, 1), datetime(2011, 3, 1))
rows = [{"sku": "10001", "horizon": 5, "event_timestamp": datetime(2011, 2, 1)}]
answer = store.get_online_features(features=store.get_feature_service("demand"), entity_rows=rows).to_dict()
print(answer["units_lag_1"], answer["weekday"], answer["weekday_mean"], len(answer))
"""


def lines() -> pl.DataFrame:
    at = [START + timedelta(days=d, hours=10) for d in range(29)]
    return pl.DataFrame(
        {
            "invoice": [str(d) for d in range(29)],
            "sku": "10001",
            "units": range(1, 30),
            "at": at,
            "unit_price": 1.5,
            "country": "UK",
        }
    )


def test_the_views_name_the_tables_features() -> None:
    text = (REPO / "demand_views.py").read_text()
    tables = load_build(REPO / "demand_tables.py")({"sales": lines(), "returns": lines()}, START + timedelta(days=29))
    missing = [
        f for t in tables.values() for f in feature_names(t) if f'"{f}"' not in text and not f.startswith("weekday_mean_")
    ]
    assert not missing


def test_feasts_own_command_applies_and_reads_the_repository(tmp_path: Path) -> None:
    shutil.copytree(REPO, tmp_path / "features", ignore=shutil.ignore_patterns("data", "__pycache__"))
    tables = tmp_path / "build/state/features/demand/tables"
    tables.mkdir(parents=True)
    for name, table in load_build(REPO / "demand_tables.py")(
        {"sales": lines(), "returns": lines()}, START + timedelta(days=29)
    ).items():
        table.write_parquet(tables / f"{name}.parquet")
    environment = {k: v for k, v in os.environ.items() if k != "TIDEGATE_FEATURES"}
    environment["PYTHONPATH"] = str(PLATFORM)
    script = "import sys\nfrom datetime import datetime\nfrom feast.cli.cli import cli\n" + (
        "try:\n    cli(['apply'])\nexcept SystemExit as done:\n    assert not done.code, done.code\n" + READ
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        cwd=tmp_path / "features",
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    # origin 1 February 2011, horizon 5: Saturday, closed
    assert done.stdout.splitlines()[-1] == "[29.0] [5.0] [0.0] 37"
    assert (tables.parent / "online.db").is_file()
