"""Rolling origins: what the model would have answered, had it been trained at the beginning of each half-year.

At each origin forests, codes and shifts are learned from deliveries known before it, the ONNX graph answers the questions
of the half-year that follows, and every baseline answers the same. The half-years end a year before the data do: of what
was ordered later, only what came fast is in the data. Nothing is tuned here. The loss of a row is the mean pinball loss of
the three quantiles, in days.

    vendor_median   the median of the vendor's own last deliveries as known when asked, in place of all three quantiles
    vendor          the quantiles of the vendor's own last deliveries as known when asked
    global          the quantiles of all deliveries of the same question that were known at the origin

A vendor without a delivery so far has the global ones. A champion's losses are those of its own rolling evaluation on the
same rows (null where it has none), so it is never scored on what it has seen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl

from .forests import QUANTILES
from .model import OUTPUT, learn, tensors, to_onnx
from .questions import BASES, KEY, KNOWN, TARGET, TIME

BASELINES = ("vendor_median", "vendor", "global")
ENDS = ("q10", "q50", "q90")
SEGMENTS = ("counted_from", "product_class", "mode", "lane")

Run = Callable[[bytes, Mapping[str, np.ndarray]], Mapping[str, np.ndarray]]
Progress = Callable[[str], None]


def pinball(actual: np.ndarray, forecast: np.ndarray) -> np.ndarray:
    """[n, Q] of actual [n] and forecast [n, Q]."""
    error = actual[:, None] - forecast
    shares = np.array(QUANTILES)
    return np.asarray(np.maximum(shares * error, (shares - 1) * error))


def half_years(until: datetime, count: int, margin_days: int) -> list[tuple[datetime, datetime]]:
    """The last `count` half-years (from January or July) that end at least `margin_days` before `until`, oldest first."""
    years = range(until.year - 20, until.year + 1)
    begins = [datetime(year, month, 1, tzinfo=until.tzinfo) for year in years for month in (1, 7)]
    return [(begin, end) for begin, end in pairwise(begins) if (until - end).days >= margin_days][-count:]


def rolling(
    rows: pl.DataFrame,
    vector: Sequence[str],
    until: datetime,
    settings: Mapping[str, Any],
    run: Run,
    progress: Progress | None = None,
) -> pl.DataFrame:
    """A row for each question of the half-years: KEY, TIME, line, origin, segments, TARGET, q10 q50 q90 of each forecast."""
    parts = []
    for origin, end in half_years(until, int(settings["origins"]), int(settings["margin_days"])):
        asked = rows.filter(pl.col(TIME) >= origin, pl.col(TIME) < end, pl.any_horizontal(pl.col(vector).is_not_null()))
        known = rows.filter(pl.col(KNOWN) < origin)
        onnx = to_onnx(learn(rows, vector, origin, settings), vector)
        forecasts = {"model": run(onnx, tensors(asked, vector))[OUTPUT], **_baselines(asked, known)}
        columns = {f"{name}_{at}": values[:, i] for name, values in forecasts.items() for i, at in enumerate(ENDS)}
        parts.append(
            asked.select("line", *KEY, TIME, TARGET, *_segments(asked)).with_columns(
                pl.lit(origin).alias("origin"), *(pl.Series(name, v.astype(np.float64)) for name, v in columns.items())
            )
        )
        if progress:
            progress(f"origin {origin:%Y-%m-%d}: learned from {len(known):,} deliveries, answered {len(asked):,} questions")
    return pl.concat(parts)


def _baselines(asked: pl.DataFrame, known: pl.DataFrame) -> dict[str, np.ndarray]:
    overall, own = np.empty((len(asked), len(QUANTILES))), np.empty((len(asked), len(QUANTILES)))
    for basis in BASES:
        mine = (asked["counted_from"] == basis).to_numpy()
        overall[mine] = np.quantile(known.filter(pl.col("counted_from") == basis)[TARGET].to_numpy(), QUANTILES)
        columns = [f"vendor_history__vendor_{basis}_{at}" for at in ENDS]
        own[mine] = asked.filter(pl.Series(mine)).select(pl.col(columns).cast(pl.Float64).fill_null(np.nan)).to_numpy()
    own = np.where(np.isnan(own), overall, own)
    return {"vendor_median": np.repeat(own[:, 1:2], len(QUANTILES), axis=1), "vendor": own, "global": overall}


def _segments(asked: pl.DataFrame) -> list[pl.Series]:
    seen = asked["mode_name"].is_not_null()
    lane = pl.select(pl.when(seen).then(pl.lit("known")).otherwise(pl.lit("new"))).to_series()
    return [
        *(asked[name].alias(f"segment_{name}") for name in SEGMENTS[:3]),
        lane.alias("segment_lane"),
    ]


def losses(table: pl.DataFrame, champion: pl.DataFrame | None = None) -> pl.DataFrame:
    """evaluation.parquet: KEY, TIME, line, `loss_<forecast>` and segments; the champion's losses from its own evaluation."""
    actual = table[TARGET].to_numpy()
    found = table.select(*KEY, TIME, "line", pl.col("^segment_.*$")).with_columns(
        pl.Series(f"loss_{name}", pinball(actual, _forecast(table, name)).mean(axis=1)) for name in ("model", *BASELINES)
    )
    if champion is None or not {"line", "loss_model"} <= set(champion.columns):
        return found
    theirs = champion.select("line", pl.col("loss_model").alias("loss_champion"))
    return found.join(theirs, on="line", how="left", maintain_order="left")


def summary(table: pl.DataFrame) -> dict[str, Any]:
    """`n`, metrics by forecast, and of the model by segment."""
    parts = {"all": table} | {f"counted_from={basis}": table.filter(pl.col("segment_counted_from") == basis) for basis in BASES}
    for kind in SEGMENTS[1:]:
        for (value,), part in sorted(table.group_by(f"segment_{kind}"), key=lambda item: str(item[0])):
            parts[f"{kind}={value}"] = part
    return {
        "n": len(table),
        "lanes": table.select(pl.struct(KEY).n_unique()).item(),
        "origins": [origin.isoformat() for origin in table["origin"].unique().sort()],
        "forecasts": {name: metrics(table, name) for name in ("model", *BASELINES)},
        "segments": {
            name: {"n": len(part), "forecasts": {each: metrics(part, each) for each in ("model", *BASELINES)}}
            for name, part in parts.items()
        },
    }


def metrics(table: pl.DataFrame, name: str) -> dict[str, float]:
    """Mean pinball loss (all three, and of the median), share within the band, and below and above it."""
    actual, forecast = table[TARGET].to_numpy(), _forecast(table, name)
    below, above = float((actual < forecast[:, 0]).mean()), float((actual > forecast[:, 2]).mean())
    loss = pinball(actual, forecast)
    return {
        "pinball": float(loss.mean()),
        "pinball_median": float(loss[:, 1].mean()),
        "coverage": 1.0 - below - above,
        "below": below,
        "above": above,
    }


def _forecast(table: pl.DataFrame, name: str) -> np.ndarray:
    return table.select(f"{name}_{at}" for at in ENDS).to_numpy()
