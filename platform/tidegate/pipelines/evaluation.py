"""Rolling origins: what the model would have forecast, had it been trained at each of them.

For each origin the learner sees only rows whose target day is over, its ONNX export forecasts the following days, and every
baseline forecasts the same rows. A champion is scored on origins at which it had already been trained, never on days it has
seen. Nothing is tuned here, so the numbers are those of the settings as they stand in the pipeline.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl

from tidegate.domain.errors import InvalidInput
from tidegate.domain.training_folder import (
    ALL_ROWS,
    BASELINES,
    CHAMPION_FORECAST,
    MODEL_FORECAST,
    QUANTILE_COLUMNS,
    QUANTILES,
)
from tidegate.pipelines.baselines import Baselines
from tidegate.pipelines.frame import EVALUATION, TRAINING, vectors
from tidegate.pipelines.metrics import coverage, mean_pinball, wape
from tidegate.pipelines.panel import Panel, segments
from tidegate.pipelines.parameters import TrainingParameters
from tidegate.pipelines.scoring import score
from tidegate.ports.training import QuantileLearner

Progress = Callable[[str], None]
SEGMENT_KINDS = ("country", "price", "movement")
ELIGIBLE = "eligible"


@dataclass(frozen=True)
class Champion:
    """The model to compare with: its vector's names, and until when it was trained."""

    onnx: bytes
    names: tuple[str, ...]
    trained_until: datetime


def rolling_forecasts(
    rows: pl.DataFrame,
    panel: Panel,
    names: Sequence[str],
    learner: QuantileLearner,
    parameters: TrainingParameters,
    champion: Champion | None = None,
    progress: Progress | None = None,
) -> pl.DataFrame:
    """The evaluation table of `rows` (see `frame.sample_rows`, with the vector's columns), sorted by origin, SKU, horizon.

    Raises InvalidInput when an origin has no row to learn from.
    """
    training, evaluation = rows.filter(pl.col("use") == TRAINING), rows.filter(pl.col("use") == EVALUATION)
    origins = sorted(evaluation["origin"].unique())
    baselines = Baselines(panel.units, parameters.baseline_residual_origins)

    def at_origin(origin: int) -> pl.DataFrame:
        past = training.filter(pl.col("target_day") < origin)
        if past.is_empty():
            raise InvalidInput(
                f"training: no row whose target is known at {panel.day(origin)}; start later or sample more rows"
            )
        # One thread each: the origins run side by side.
        settings = {**parameters.learner, "threads": 1}
        onnx = learner.fit(vectors(past, names), past["target"].to_numpy(), names, settings).onnx
        ahead = evaluation.filter(pl.col("origin") == origin)
        if progress:
            progress(f"origin {panel.day(origin)}: learned from {len(past):,} rows, forecast {len(ahead):,}")
        return _forecasts(ahead, origin, panel, baselines, score(onnx, vectors(ahead, names)), champion)

    with ThreadPoolExecutor(max_workers=parameters.threads) as pool:
        return pl.concat(pool.map(at_origin, origins)).sort("origin", "sku", "horizon")


def _forecasts(
    ahead: pl.DataFrame, origin: int, panel: Panel, baselines: Baselines, quantiles: np.ndarray, champion: Champion | None
) -> pl.DataFrame:
    sku, step = ahead["sku_index"].to_numpy(), ahead["horizon"].to_numpy() - 1
    steps = int(step.max()) + 1
    points, spreads = baselines.points(origin, steps), baselines.quantiles(origin, steps)
    kinds = segments(panel, origin)
    columns: dict[str, Any] = {
        "origin": [panel.origin_time(origin)] * len(ahead),
        "sku": [panel.skus[index] for index in sku],
        "horizon": ahead["horizon"],
        "date": [panel.day(day) for day in ahead["target_day"]],
        "actual": ahead["target"],
        **{column: quantiles[:, i] for i, column in enumerate(QUANTILE_COLUMNS)},
    }
    for name in BASELINES:
        columns[name] = points[name][sku, step]
        columns |= {f"{name}_{column}": spreads[name][sku, step, i] for i, column in enumerate(QUANTILE_COLUMNS)}
    theirs = np.full(quantiles.shape, np.nan)
    if champion and champion.trained_until <= panel.origin_time(origin) and set(champion.names) <= set(ahead.columns):
        theirs = score(champion.onnx, vectors(ahead, champion.names), "the champion")
    columns |= {f"{CHAMPION_FORECAST}_{c}": pl.Series(theirs[:, i]).fill_nan(None) for i, c in enumerate(QUANTILE_COLUMNS)}
    columns |= {kind: kinds[kind][sku] for kind in SEGMENT_KINDS}
    return pl.DataFrame(columns)


def with_eligibility(table: pl.DataFrame, panel: Panel, min_selling_days: int) -> pl.DataFrame:
    """Adds `eligible`: the SKU had at least `min_selling_days` days with sales before `until`; the headline counts these."""
    enough = pl.DataFrame({"sku": panel.skus, ELIGIBLE: panel.selling_days() >= min_selling_days})
    return table.join(enough, on="sku", how="left", maintain_order="left")


def summary(table: pl.DataFrame) -> dict[str, Any]:
    """evaluation.json of an evaluation table: `forecasts` over the eligible rows, `segments` over all."""
    eligible = table.filter(pl.col(ELIGIBLE))
    groups = {ALL_ROWS: table}
    for kind in SEGMENT_KINDS:
        for (value,), part in sorted(table.group_by(kind), key=lambda item: str(item[0])):
            groups[f"{kind}={value}"] = part
    return {
        "schema": 1,
        "n": len(eligible),
        "skus": eligible["sku"].n_unique(),
        "origins": [origin.isoformat() for origin in eligible["origin"].unique().sort()],
        "forecasts": measures(eligible),
        "segments": {name: {"n": len(part), "forecasts": measures(part)} for name, part in groups.items()},
        "coverage": dict(zip(QUANTILE_COLUMNS, coverage(_actual(eligible), _quantiles(eligible, "")), strict=True)),
    }


def measures(table: pl.DataFrame) -> dict[str, dict[str, float | int | None]]:
    """WAPE and mean pinball loss by forecast; null where they do not exist. A champion is measured on its own rows."""
    result = {MODEL_FORECAST: _measure(table, "q50", "")}
    for name in BASELINES:
        result[name] = _measure(table, name, f"{name}_")
    theirs = table.drop_nulls(f"{CHAMPION_FORECAST}_q50")
    if len(theirs):
        result[CHAMPION_FORECAST] = _measure(theirs, f"{CHAMPION_FORECAST}_q50", f"{CHAMPION_FORECAST}_")
    return result


def _measure(table: pl.DataFrame, point: str, prefix: str) -> dict[str, float | int | None]:
    actual = _actual(table)
    values = {
        "wape": wape(actual, table[point].to_numpy()),
        "pinball": mean_pinball(actual, _quantiles(table, prefix), QUANTILES),
    }
    return {"n": len(table), **{name: value if np.isfinite(value) else None for name, value in values.items()}}


def _actual(table: pl.DataFrame) -> np.ndarray:
    return np.asarray(table["actual"].to_numpy(), dtype=np.float64)


def _quantiles(table: pl.DataFrame, prefix: str) -> np.ndarray:
    return np.asarray(table.select(f"{prefix}{column}" for column in QUANTILE_COLUMNS).to_numpy(), dtype=np.float64)


def headline(evaluation: Mapping[str, Any]) -> dict[str, float]:
    """The numbers that a registry shows: `wape_model`, `pinball_seasonal_naive`, ..."""
    return {
        f"{measure}_{forecast}": float(values[measure])
        for forecast, values in evaluation["forecasts"].items()
        for measure in ("wape", "pinball")
        if values[measure] is not None
    }
