"""Daily demand of some SKUs; the faulty version has learned prices in pence."""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl

from demo.models.case import Body, Case, edit

SKUS = 120
LIGHT = {"training_rows": 20_000, "reference_rows": 6000, "trees": 40, "baseline_residual_origins": 4}


def lighten(folder: Path) -> None:
    lines = [pl.read_parquet(path) for path in sorted((folder / "features/data").glob("online_retail_*.parquet"))]
    some = lines[-1]["StockCode"].value_counts(sort=True).head(4 * SKUS)["StockCode"].sort()[::4].to_list()
    for path, part in zip(sorted((folder / "features/data").glob("online_retail_*.parquet")), lines, strict=True):
        path.unlink()  # a link's other names keep what they have
        part.filter(pl.col("StockCode").is_in(some)).write_parquet(path)
    pipeline = folder / "pipelines/demand/pipeline.py"
    text = pipeline.read_text()
    for name, value in LIGHT.items():
        text, replaced = re.subn(rf'"{name}": [\d_]+', f'"{name}": {value}', text)
        assert replaced == 1, name
    pipeline.write_text(text)
    # fewer keys than a window has
    edit(folder / "monitoring/demand.yaml", ("window: 500", "window: 80"), ("draws: 400", "draws: 200"))


def bodies(data: Path, until: str) -> list[Body]:
    """All SKUs that were sold in the quarter before `until`, two a request, for some of the days ahead."""
    moment = pl.lit(until).str.to_datetime(time_zone="UTC")
    sold = pl.read_parquet(data / "online_retail/sales.parquet").filter(pl.col("at") < moment)
    skus = sold.filter(pl.col("at") >= moment - pl.duration(days=90))["sku"].unique().sort().to_list()
    return [{"skus": skus[n : n + 2], "horizon": 1 + n % 14} for n in range(len(skus) - 1)]


def pence(folder: Path) -> None:
    edit(folder / "features/online_retail.py", ("    normalize={\n", '    normalize={\n        "unit_price": price * 100,\n'))


DEMAND = Case(
    model="demand",
    times=("2011-06-06", "2011-09-05"),
    bodies=bodies,
    lighten=lighten,
    fault=pence,
    stopped_by=("drift", "shadow"),
)
