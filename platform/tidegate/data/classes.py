"""Rows sorted into the classes of a dataset's definition and the quarantine: each row is in exactly one of them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import timedelta

import polars as pl

from tidegate.data.dataset import ORIGINAL, QUARANTINE, ROW, ROWS, SOURCE, SOURCE_ROW, Dataset
from tidegate.data.taken import INVALID
from tidegate.data.values import UTC_TIME
from tidegate.domain.errors import InvalidInput
from tidegate.domain.project import NAME_PATTERN

REASON = "reason"
DUPLICATE, OVERLAP, TIME_GAP = "duplicate", "overlap", "time_gap"
RESERVED = (QUARANTINE, "taken")


def classify(dataset: Dataset, taken: pl.DataFrame, narrow: Sequence[str] = ()) -> dict[str, pl.DataFrame]:
    """The classes of rows in the order of the source, the quarantine last; raises InvalidInput for what the definition does.

    `narrow` names columns of numbers that some part has in single precision: between parts they are compared in that.
    """
    try:
        rows = taken.with_row_index(ROW).with_columns(**dataset.normalize)
        _require_time(dataset, rows)
        rows = rows.with_columns(_reason(dataset, narrow).alias(REASON))
    except pl.exceptions.PolarsError as error:
        reason = " ".join(str(error).split())[:200]
        raise InvalidInput(f"dataset '{dataset.name}': normalize or a rule cannot be computed ({reason})") from error
    rows = _with_time_gaps(dataset, rows)
    refused = rows.filter(pl.col(REASON).is_not_null())
    kept = rows.filter(pl.col(REASON).is_null()).drop(REASON, ORIGINAL, INVALID)
    own = [name for name in kept.columns if name not in (ROW, SOURCE, SOURCE_ROW)]
    kept = kept.select(ROW, *own, SOURCE, SOURCE_ROW)
    classes = {name: frame.drop(ROW) for name, frame in _split(dataset, kept).items()}
    return {**classes, QUARANTINE: refused.select(SOURCE, SOURCE_ROW, REASON, ORIGINAL)}


def _require_time(dataset: Dataset, rows: pl.DataFrame) -> None:
    kind = rows.schema[dataset.time] if dataset.time else None
    if kind is not None and kind not in (pl.Date, UTC_TIME):
        raise InvalidInput(
            f"dataset '{dataset.name}': time '{dataset.time}' is {kind} after normalize, required Date or {UTC_TIME}"
        )


def _reason(dataset: Dataset, narrow: Sequence[str]) -> pl.Expr:
    """Why a row is refused, or null: a cell is invalid or missing, it is a repetition, or a rule says so."""
    required = [name for name, column in dataset.columns.items() if not column.nullable]
    if dataset.time and dataset.time not in required:
        required.append(dataset.time)
    reasons = [
        (pl.col(INVALID).is_not_null(), pl.concat_str(pl.lit("invalid_"), pl.col(INVALID))),
        *((pl.col(name).is_null(), pl.lit(f"missing_{name}")) for name in required),
    ]
    if dataset.identity:
        line = [pl.col(name) for name in dataset.identity]
        between = [pl.col(name).cast(pl.Float32) if name in narrow else pl.col(name) for name in dataset.identity]
        reasons += [
            (~pl.struct(pl.col(SOURCE).alias("_part"), *line).is_first_distinct(), pl.lit(DUPLICATE)),
            (~pl.struct(between).is_first_distinct(), pl.lit(OVERLAP)),
        ]
    reasons += [(rule.when.fill_null(False), pl.lit(rule.reason)) for rule in dataset.rules]
    return pl.coalesce([pl.when(when).then(reason) for when, reason in reasons])


def _with_time_gaps(dataset: Dataset, rows: pl.DataFrame) -> pl.DataFrame:
    """Rows outside the stretch of time in which most rows lie are refused; raises InvalidInput where no stretch has most."""
    if dataset.time is None:
        return rows
    time = pl.col(dataset.time)
    kept = rows.filter(pl.col(REASON).is_null())
    times = kept.group_by(time.alias("t")).len().sort("t")
    jump = (pl.col("t").diff() > pl.lit(dataset.max_gap)).fill_null(False)
    stretches = (
        times.with_columns(jump.cum_sum().alias("s"))
        .group_by("s")
        .agg(pl.col("t").min().alias("first"), pl.col("t").max().alias("last"), pl.col("len").sum())
    )
    if len(stretches) < 2:
        return rows
    first, last, count = stretches.sort("len", descending=True).select("first", "last", "len").row(0)
    if 2 * count <= len(kept):
        raise InvalidInput(
            f"dataset '{dataset.name}': '{dataset.time}' jumps by more than {said(dataset.max_gap)} between {len(stretches)} "
            f"stretches, none of which has most of the {len(kept):,} rows; say in the definition how far it may: max_gap=..."
        )
    outside = pl.col(REASON).is_null() & ~time.is_between(first, last)
    return rows.with_columns(pl.when(outside).then(pl.lit(TIME_GAP)).otherwise(pl.col(REASON)).alias(REASON))


def said(length: timedelta) -> str:
    return f"{length.days} days" if length >= timedelta(days=2) else f"{length.total_seconds():g} s"


def _split(dataset: Dataset, kept: pl.DataFrame) -> Mapping[str, pl.DataFrame]:
    if dataset.split is None:
        return {ROWS: kept.sort(dataset.time, ROW) if dataset.time else kept}
    what = f"dataset '{dataset.name}': split()"
    try:
        classes = dataset.split(kept)
    except Exception as error:
        raise InvalidInput(f"{what} failed: {type(error).__name__}: {' '.join(str(error).split())[:200]}") from error
    if not isinstance(classes, Mapping) or not all(isinstance(each, pl.DataFrame) for each in classes.values()):
        raise InvalidInput(f"{what} must return a dict of class name to DataFrame")
    for name, frame in classes.items():
        if not re.match(NAME_PATTERN, name) or name in RESERVED:
            raise InvalidInput(f"{what} has a class '{name}'; required: a name that matches {NAME_PATTERN}, none of {RESERVED}")
        lacking = [column for column in (ROW, dataset.time) if column and column not in frame.columns]
        if lacking:
            raise InvalidInput(f"{what}: class '{name}' lacks '{lacking[0]}'; keep the column")
    numbers = pl.concat(
        [frame.select(pl.col(ROW).cast(kept.schema[ROW])) for frame in classes.values()] or [kept.select(ROW).clear()]
    )
    given, wanted = numbers[ROW].sort(), kept[ROW]
    if not given.equals(wanted, check_names=False):
        twice = given.filter(given.is_duplicated()).n_unique()
        missing = len(kept) - given.filter(given.is_in(wanted.implode())).n_unique()
        raise InvalidInput(
            f"{what} must put each row into one class: of {len(kept):,} rows {missing:,} are in none, {twice:,} in several"
        )
    return classes
