"""Rolling origins: what the model would have forecast, had it been trained at each of them.

For each origin the learner sees only rows whose target day is over, its ONNX export forecasts the following days, and every
baseline forecasts the same rows. A champion is scored at origins at which it had already been trained, never on days it has
seen; for earlier ones its own rolling forecasts stand, where it made some for the same row. Nothing is tuned here, so the
numbers are those of the settings as they stand in the pipeline.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl

from tidegate.api.training import InvalidInput

from .baselines import Baselines
from .frame import EVALUATION, TRAINING, vectors
from .learner import QuantileLearner
from .metrics import coverage, mean_pinball, wape
from .names import BASELINES, CHAMPION_FORECAST, MODEL_FORECAST, QUANTILE_COLUMNS
from .panel import Panel, segments
from .parameters import TrainingParameters
from .scoring import score

Progress = Callable[[str], None]
SEGMENTS = ("country", "price", "movement")
ELIGIBLE, POINT = "eligible", "point"
KEY = ("sku", "date", "horizon")
LOSS = "absolute error of the median, in units"
CHAMPION_COLUMNS = [f"{CHAMPION_FORECAST}_{column}" for column in QUANTILE_COLUMNS]


@dataclass(frozen=True)
class Champion:
    """The model to compare with: its vector's names, until when it was trained, and its own evaluation table."""

    version: str
    onnx: bytes
    names: tuple[str, ...]
    trained_until: datetime
    evaluation: pl.DataFrame


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
    eligible = panel.selling_days() >= parameters.min_selling_days

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
        table = _forecasts(ahead, origin, panel, baselines, score(onnx, vectors(ahead, names)), eligible)
        if champion is not None:
            table = _with_champion(table, ahead, panel.origin_time(origin), champion)
        if progress:
            progress(f"origin {panel.day(origin)}: learned from {len(past):,} rows, forecast {len(ahead):,}")
        return table

    with ThreadPoolExecutor(max_workers=parameters.threads) as pool:
        return with_losses(pl.concat(pool.map(at_origin, origins)).sort("origin", "sku", "horizon"))


def with_losses(table: pl.DataFrame) -> pl.DataFrame:
    """Adds `loss_<forecast>`: null for a champion where it has no honest forecast."""
    named = [name for name in (MODEL_FORECAST, *BASELINES, CHAMPION_FORECAST) if f"{name}_q50" in table.columns]
    losses = ((pl.col(f"{name}_q50") - pl.col("actual")).abs().alias(f"loss_{name}") for name in named)
    return table.with_columns(losses)


def _forecasts(
    ahead: pl.DataFrame, origin: int, panel: Panel, baselines: Baselines, quantiles: np.ndarray, eligible: np.ndarray
) -> pl.DataFrame:
    sku, step = ahead["sku_index"].to_numpy(), ahead["horizon"].to_numpy() - 1
    steps = int(step.max()) + 1
    points, spreads = baselines.points(origin, steps), baselines.quantiles(origin, steps)
    columns: dict[str, Any] = {
        "origin": [panel.origin_time(origin)] * len(ahead),
        "sku": [panel.skus[index] for index in sku],
        "horizon": ahead["horizon"],
        "date": [panel.day(day) for day in ahead["target_day"]],
        "actual": ahead["target"],
        ELIGIBLE: eligible[sku],
    }
    columns |= {f"{MODEL_FORECAST}_{column}": quantiles[:, i] for i, column in enumerate(QUANTILE_COLUMNS)}
    for name in BASELINES:
        columns |= {f"{name}_{column}": spreads[name][sku, step, i] for i, column in enumerate(QUANTILE_COLUMNS)}
        columns[f"{name}_{POINT}"] = points[name][sku, step]
    columns |= {f"segment_{kind}": values[sku] for kind, values in segments(panel, origin).items()}
    return pl.DataFrame(columns)


def _with_champion(table: pl.DataFrame, ahead: pl.DataFrame, origin: datetime, champion: Champion) -> pl.DataFrame:
    """Adds the champion's quantiles, null where it has no honest forecast."""
    if champion.trained_until <= origin and set(champion.names) <= set(ahead.columns):
        theirs = score(champion.onnx, vectors(ahead, champion.names), f"champion version {champion.version}")
        return table.with_columns(pl.Series(name, theirs[:, i]) for i, name in enumerate(CHAMPION_COLUMNS))
    renamed = {f"{MODEL_FORECAST}_{c}": f"{CHAMPION_FORECAST}_{c}" for c in QUANTILE_COLUMNS}
    needed = [*KEY, *renamed]
    if not set(needed) <= set(champion.evaluation.columns):
        return table.with_columns(pl.lit(None, pl.Float64).alias(name) for name in CHAMPION_COLUMNS)
    theirs_then = champion.evaluation.select(needed).rename(renamed)
    return table.join(theirs_then, on=list(KEY), how="left", maintain_order="left")


def summary(table: pl.DataFrame) -> dict[str, Any]:
    """What is measured of an evaluation table: `forecasts` over the eligible rows, `segments` over all."""
    eligible = table.filter(pl.col(ELIGIBLE))
    parts: dict[str, pl.DataFrame] = {"all": table}
    for kind in SEGMENTS:
        for (value,), part in sorted(table.group_by(f"segment_{kind}"), key=lambda item: str(item[0])):
            parts[f"{kind}={value}"] = part
    quantiles = _quantiles(eligible, MODEL_FORECAST)
    return {
        "eligible": len(eligible),
        "entities": eligible["sku"].n_unique(),
        "origins": [origin.isoformat() for origin in eligible["origin"].unique().sort()],
        "forecasts": measures(eligible),
        "coverage": dict(zip(QUANTILE_COLUMNS, coverage(_actual(eligible), quantiles), strict=True)),
        "segments": {name: {"n": len(part), "forecasts": measures(part)} for name, part in parts.items()},
    }


def measures(table: pl.DataFrame) -> dict[str, dict[str, float]]:
    """By forecast: `wape` of the median, `pinball` (mean loss, units), of baselines `wape_point` of the bare forecast.

    What does not exist (nothing was sold) is left out. A champion is measured on its own rows, and so is the model beside
    it: `model_on_champion_rows`.
    """
    result = {name: _measure(table, name) for name in (MODEL_FORECAST, *BASELINES)}
    if CHAMPION_COLUMNS[0] in table.columns:
        common = table.drop_nulls(CHAMPION_COLUMNS)
        if len(common):
            result[CHAMPION_FORECAST] = _measure(common, CHAMPION_FORECAST)
            result["model_on_champion_rows"] = _measure(common, MODEL_FORECAST)
    return result


def _measure(table: pl.DataFrame, name: str) -> dict[str, float]:
    actual, quantiles = _actual(table), _quantiles(table, name)
    values = {"wape": wape(actual, quantiles[:, 1]), "pinball": mean_pinball(actual, quantiles)}
    if f"{name}_{POINT}" in table.columns:
        values["wape_point"] = wape(actual, table[f"{name}_{POINT}"].to_numpy())
    return {measure: value for measure, value in values.items() if np.isfinite(value)}


def _actual(table: pl.DataFrame) -> np.ndarray:
    return np.asarray(table["actual"].to_numpy(), dtype=np.float64)


def _quantiles(table: pl.DataFrame, name: str) -> np.ndarray:
    return np.asarray(table.select(f"{name}_{column}" for column in QUANTILE_COLUMNS).to_numpy(), dtype=np.float64)
