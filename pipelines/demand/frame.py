"""Which rows a training looks at: origins x SKUs x horizons, their targets, and the entity rows for the feature store.

A row's target is the units sold on day `origin + horizon - 1`, and no row is made whose target day is not over at `until`.
`target_day` stays with each row, so that a rolling origin trains on `target_day < origin` alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from tidegate.api.training import InvalidInput

from .panel import Panel
from .parameters import TrainingParameters

TIME = "event_timestamp"
TRAINING, EVALUATION, REFERENCE = "training", "evaluation", "reference"


def evaluation_origins(panel: Panel, parameters: TrainingParameters) -> list[int]:
    """Indices of the rolling origins, oldest first: each is followed by `origin_step_days` whole days before `until`."""
    step = parameters.origin_step_days
    origins = [panel.days - step * k for k in range(parameters.origins, 0, -1)]
    if origins[0] <= parameters.warmup_days + step:
        raise InvalidInput(
            f"training: {panel.days} days of data before 'until', required more than "
            f"{parameters.warmup_days + step * (parameters.origins + 1)} for {parameters.origins} rolling origins"
        )
    return origins


def sample_rows(panel: Panel, parameters: TrainingParameters, entity: str) -> pl.DataFrame:
    """All rows of a training: use, entity, event_timestamp, horizon, origin, target_day (indices) and target (units).

    `use` is training (a sample, later origins more often), evaluation (every SKU known at a rolling origin, each day
    of its step) or reference (a sample of the last `reference_days` origins, whose targets may lie ahead).
    """
    rng = np.random.default_rng(parameters.seed)
    training = _training(panel, parameters, rng)
    evaluation = _evaluation(panel, parameters)
    reference = _reference(panel, parameters, rng)
    parts = []
    for use, (sku, origin, horizon) in ((TRAINING, training), (EVALUATION, evaluation), (REFERENCE, reference)):
        target_day = origin + horizon - 1
        known = target_day < panel.days
        target = np.where(known, panel.units[sku, np.minimum(target_day, panel.days - 1)], np.nan)
        times = np.datetime64(panel.first_day, "us") + origin.astype("timedelta64[D]")
        parts.append(
            pl.DataFrame(
                {
                    "use": np.full(len(sku), use),
                    entity: np.array(panel.skus, dtype=object)[sku].tolist(),
                    TIME: pl.Series(times).dt.replace_time_zone("UTC"),
                    "horizon": horizon.astype(np.int64),
                    "sku_index": sku.astype(np.int64),
                    "origin": origin.astype(np.int64),
                    "target_day": target_day.astype(np.int64),
                    "target": pl.Series(target).fill_nan(None),
                }
            )
        )
    return pl.concat(parts)


Rows = tuple[np.ndarray, np.ndarray, np.ndarray]  # SKU, origin, horizon: integers [n]


def _training(panel: Panel, parameters: TrainingParameters, rng: np.random.Generator) -> Rows:
    """Draws without repetition; a row's chance halves with each `recency_days` that its origin lies back."""
    origins = np.arange(parameters.warmup_days, panel.days)
    if not len(origins):
        raise InvalidInput(f"training: {panel.days} days of data before 'until', required more than {parameters.warmup_days}")
    chance = 0.5 ** ((panel.days - origins) / parameters.recency_days)
    drawn = 2 * parameters.training_rows
    origin = rng.choice(origins, drawn, p=chance / chance.sum())
    sku = rng.integers(0, len(panel.skus), drawn)
    horizon = rng.integers(1, parameters.horizons + 1, drawn)
    usable = (panel.first_sale[sku] < origin) & (origin + horizon - 1 < panel.days)
    keys = np.unique(np.stack([origin, sku, horizon])[:, usable], axis=1)
    if keys.shape[1] > parameters.training_rows:
        keys = keys[:, np.sort(rng.choice(keys.shape[1], parameters.training_rows, replace=False))]
    return keys[1], keys[0], keys[2]


def _evaluation(panel: Panel, parameters: TrainingParameters) -> Rows:
    parts = []
    for origin in evaluation_origins(panel, parameters):
        known = np.flatnonzero(panel.first_sale < origin)
        horizons = np.arange(1, parameters.origin_step_days + 1)
        parts.append(
            np.stack(
                [np.repeat(known, len(horizons)), np.full(len(known) * len(horizons), origin), np.tile(horizons, len(known))]
            )
        )
    rows = np.concatenate(parts, axis=1)
    return rows[0], rows[1], rows[2]


def _reference(panel: Panel, parameters: TrainingParameters, rng: np.random.Generator) -> Rows:
    """Every day's vectors as they would be served: the same number of SKUs each origin, horizons at random."""
    origins = np.arange(max(parameters.warmup_days, panel.days - parameters.reference_days), panel.days) + 1
    each = max(1, parameters.reference_rows // len(origins))
    parts = []
    for origin in origins:
        known = np.flatnonzero(panel.first_sale < origin)
        sku = np.sort(rng.choice(known, min(each, len(known)), replace=False))
        parts.append(np.stack([sku, np.full(len(sku), origin), rng.integers(1, parameters.horizons + 1, len(sku))]))
    rows = np.concatenate(parts, axis=1)
    return rows[0], rows[1], rows[2]


def vectors(rows: pl.DataFrame, names: Sequence[str]) -> np.ndarray:
    """float32 [n, F] in the order of `names`; null is NaN."""
    return np.ascontiguousarray(
        rows.select(pl.col(list(names)).cast(pl.Float32).fill_null(float("nan"))).to_numpy(), dtype=np.float32
    )
