"""The tables behind feature views: that they are there with their columns, and the latest row of each key."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from tidegate.adapters.feast.contracts import TIME
from tidegate.domain.errors import InvalidInput, NotFound

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NO_KEY, NO_KEY_VALUE = "__dummy_id", ""  # Feast's join key of views without entities


def pulled(store: Any, view: Any, features: Sequence[str], end: datetime) -> pl.DataFrame:
    """The latest row of each key of a view at or before `end`: its join keys, `features` and TIME, sorted by key."""
    table_of_view(view)
    source = view.batch_source
    columns = {mapped: column for column, mapped in source.field_mapping.items()}
    keys = key_columns(view)
    names = [*keys, *features]
    asked = [columns.get(name, name) for name in names]
    with quiet():
        job = store._get_provider().offline_store.pull_latest_from_table_or_query(
            store.config,
            source,
            asked[: len(keys)],
            asked[len(keys) :],
            columns.get(source.timestamp_field, source.timestamp_field),
            columns.get(source.created_timestamp_column, source.created_timestamp_column) or None,
            EPOCH,
            end,
        )
        rows = frame_of(job.to_arrow())
    time = rows[columns.get(source.timestamp_field, source.timestamp_field)]
    made = rows.select(pl.col(column).alias(name) for column, name in zip(asked, names, strict=True))
    return made.with_columns(_utc(time).alias(TIME)).sort(keys)


def table_of_view(view: Any) -> Path | None:
    """The file of the view's table, which has its columns; None when it is elsewhere. Raises NotFound, InvalidInput."""
    path = getattr(view.batch_source, "path", "")
    if not path or "://" in path:
        return None
    table = Path(path)
    if not table.exists():
        raise NotFound(f"feature view '{view.name}': its table {table} does not exist; run 'tidegate features build' first")
    if table.suffix == ".parquet" and table.is_file():
        mapped = {column: name for name, column in view.batch_source.field_mapping.items()}
        wanted = [
            *(c.name for c in view.entity_columns),
            *(f.name for f in view.features),
            view.batch_source.timestamp_field,
        ]
        there = pl.read_parquet_schema(table)
        lacking = [name for name in wanted if name not in there and mapped.get(name) not in there]
        if lacking:
            raise InvalidInput(
                f"feature view '{view.name}': its table {table} has no column '{lacking[0]}' (it has {', '.join(there)}); "
                "build the tables again, or correct the view"
            )
    return table


@contextmanager
def quiet() -> Iterator[None]:
    """Feast calls every on-demand view experimental and ibis uses a name that DuckDB deprecates: no news to our users."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def frame_of(table: Any) -> pl.DataFrame:
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)  # noqa: S101 - of a table, for the type checker
    return frame


def key_columns(view: Any) -> list[str]:
    """Sorted; Feast repeats those of a stream's view, and has one of its own for a view without entities."""
    return sorted({column.name for column in view.entity_columns} - {NO_KEY})


def _utc(times: pl.Series) -> pl.Series:
    zone = getattr(times.dtype, "time_zone", None)
    moments = times.cast(pl.Datetime("us", zone)).dt
    return moments.replace_time_zone("UTC") if zone is None else moments.convert_time_zone("UTC")
