"""What Christmas did: two releases on the same weeks, and how far each week's vectors lie from a release's reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from tidegate.files.release_folder import MODEL, read_contract, verified_bytes

if TYPE_CHECKING:
    from tidegate.apps.platform import Platform

HORIZONS = 14
QUANTILES = (0.1, 0.5, 0.9)


@dataclass(frozen=True)
class Comparison:
    """Two releases' forecasts of the same SKU-days. `rows`: origin, sku, horizon, date, actual, before_q*, after_q*."""

    rows: pl.DataFrame

    def errors(self, name: str) -> dict[str, float]:
        """WAPE of the median and mean pinball loss over the three quantiles (formulas: `pipelines.demand.metrics`)."""
        from pipelines.demand.metrics import mean_pinball, wape

        actual = self.rows["actual"].to_numpy()
        forecast = self.rows.select(f"{name}_q10", f"{name}_q50", f"{name}_q90").to_numpy()
        return {"wape": wape(actual, forecast[:, 1]), "pinball": mean_pinball(actual, forecast, QUANTILES), "n": len(actual)}

    def change(self, draws: int = 2000, seed: int = 0) -> dict[str, float]:
        """WAPE after over WAPE before: `ratio`, and `low` and `high`, between which 95 % of a bootstrap over SKUs lies."""
        missed = [(pl.col("actual") - pl.col(f"{name}_q50")).abs().sum().alias(name) for name in ("before", "after")]
        by_sku = self.rows.group_by("sku").agg(missed).sort("sku")
        before, after = (by_sku[name].to_numpy() for name in ("before", "after"))
        drawn = np.random.default_rng(seed).integers(0, len(before), (draws, len(before)))
        low, high = np.quantile(after[drawn].sum(axis=1) / before[drawn].sum(axis=1), [0.025, 0.975])
        return {"ratio": float(after.sum() / before.sum()), "low": float(low), "high": float(high)}


def compare(
    platform: Platform, model: str, before: str, after: str, origins: Sequence[datetime], end: datetime, min_days: int = 100
) -> Comparison:
    """Forecast every day from each origin up to `end` with both releases, for SKUs with `min_days` selling days before the
    first origin. Vectors come from the offline path, point-in-time correct at each origin."""
    sales = platform.data(model)["sales"]
    known = sales.filter(pl.col("at") < origins[0])
    days = known.group_by("sku").agg(n=pl.col("at").dt.date().n_unique())
    skus = days.filter(pl.col("n") >= min_days)["sku"].sort()
    rows = (
        pl.DataFrame({"event_timestamp": origins})
        .join(skus.to_frame(), how="cross")
        .join(pl.DataFrame({"horizon": range(1, HORIZONS + 1)}), how="cross")
        .with_columns(pl.col("event_timestamp").cast(pl.Datetime("us", "UTC")))
        .with_columns(date=(pl.col("event_timestamp") + pl.duration(days=pl.col("horizon") - 1)).dt.date())
        .filter(pl.col("date") < end.date())
    )
    sold = sales.group_by("sku", pl.col("at").dt.date().alias("date")).agg(actual=pl.col("units").sum().cast(pl.Float64))
    rows = rows.join(sold, on=["sku", "date"], how="left").with_columns(pl.col("actual").fill_null(0.0))
    for name, release in (("before", before), ("after", after)):
        rows = rows.with_columns(_forecasts(platform, model, release, rows, name))
    return Comparison(rows)


def _forecasts(platform: Platform, model: str, release: str, rows: pl.DataFrame, name: str) -> list[pl.Series]:
    from tidegate.adapters.onnx.session import open_onnx

    manifest, folder = platform.releases.open(release)
    contract = read_contract(folder, manifest)
    keys = rows.select("sku", "event_timestamp", pl.col("horizon").cast(pl.Int64))
    vectors = platform.feature_store(model).historical(contract, keys).select(contract.vector).to_numpy().astype(np.float32)
    session = open_onnx(verified_bytes(folder, manifest, MODEL), manifest.id)
    quantiles = session.run({"features": vectors})["quantiles"]
    return [pl.Series(f"{name}_q{q}", quantiles[:, i].astype(np.float64)) for i, q in enumerate((10, 50, 90))]


def drift_by_week(
    platform: Platform, model: str, release: str, first: datetime, end: datetime, seed: int = 0
) -> tuple[list[str], list[str], np.ndarray, Any]:
    """Weeks (ISO date of the first day), features, and distance over threshold [features, weeks], with the thresholds.

    Each week is looked at through one window of vectors as large as the thresholds were calibrated for, drawn from the SKUs at
    the week's middle."""
    from tidegate.gates.drift_check import read_profile
    from tidegate.statistics.distances import distance

    manifest, folder = platform.releases.open(release)
    contract = read_contract(folder, manifest)
    profile = read_profile(folder, manifest)
    thresholds, reference = profile.thresholds, profile.reference
    rng = np.random.default_rng(seed)
    skus = platform.data(model)["sales"].filter(pl.col("at") < first)["sku"].unique().sort().to_numpy()
    weeks: list[str] = []
    columns: list[np.ndarray] = []
    week = first
    names = list(thresholds.features)
    while week + timedelta(days=7) <= end:
        keys = pl.DataFrame(
            {
                "sku": rng.choice(skus, thresholds.window),
                "event_timestamp": [week + timedelta(days=3)] * thresholds.window,
                "horizon": rng.integers(1, HORIZONS + 1, thresholds.window),
            }
        ).with_columns(pl.col("event_timestamp").cast(pl.Datetime("us", "UTC")))
        vectors = platform.feature_store(model).historical(contract, keys)
        ratios = []
        for name in names:
            limit = thresholds.features[name]
            a, b = (frame[name].cast(pl.Float64).to_numpy() for frame in (reference, vectors))
            ratios.append(distance(a, b, limit.method) / limit.threshold)
        weeks.append(week.date().isoformat())
        columns.append(np.array(ratios))
        week += timedelta(days=7)
    ratios_by_week = np.array(columns).T
    order = np.argsort(-np.nanmax(ratios_by_week, axis=1))
    return weeks, [names[i] for i in order], ratios_by_week[order], thresholds
