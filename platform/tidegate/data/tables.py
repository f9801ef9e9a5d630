"""Feature tables: what a definition's `build(data, until)` makes of ingested data, checked and written as Parquet.

`data` maps the names of classes to their rows before `until`, a moment in UTC. It returns a table a feature view, each with the
columns of the key, then `event_timestamp`, then the features: what stands to the left of the timestamp is the key (none, for
what is known of all together), what stands to the right is known of it at that time.

The tables of a model lie in one folder, `state/features/<model>/tables/<view>.parquet`, which is replaced as a whole: a reader
never meets the tables of two builds, or of two models. Checked is what the feature store relies on: one row for each key and
timestamp, timestamps in UTC and none after `until`, keys without nulls, features of KINDS without infinities, no table
without rows, and none that grows out of proportion to the data (ROWS_A_ROW; a definition that means more says MAX_ROWS).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from tidegate.data.model_data import ModelData
from tidegate.data.tables_definition import Tables, load_build
from tidegate.domain.errors import InvalidInput
from tidegate.files.replaced_folder import replaced_folder

TIME = "event_timestamp"
TIME_TYPE = pl.Datetime("us", "UTC")
KINDS = (pl.Float64, pl.Int64, pl.Boolean, pl.String)
KEY_KINDS = (pl.String, pl.Int64, pl.Int32, pl.Boolean)
ROWS_A_ROW, FEW_ROWS = 100, 100_000  # a table may have so many rows for each row of the data, and always so many


@dataclass(frozen=True)
class TablesReport:
    """Rows, keys and features by table, of data before `until` (ISO)."""

    until: str
    entities: int
    rows: Mapping[str, int]
    features: Mapping[str, tuple[str, ...]]


def build_tables(
    definition: Path,
    data: ModelData,
    out: Path,
    until: datetime | None = None,
    progress: Callable[[str], None] | None = None,
) -> TablesReport:
    """Build the tables of all data before `until` (default: just after the newest row) and replace `out`.

    Raises InvalidInput when the definition or what it makes is wrong, Unavailable.
    """
    build = load_build(definition)
    end = data.checked_until(until)
    before = data.known_before(end)
    if progress:
        progress(f"computing features of {len(before):,} rows until {end:%Y-%m-%d %H:%M}")
    tables = checked_tables(definition.name, build(before.classes, end), end, len(before), build.max_rows)
    with replaced_folder(out, f"feature tables of {definition.name}") as folder:
        for name, table in tables.items():
            table.write_parquet(folder / f"{name}.parquet", compression="zstd", compression_level=1, statistics=True)
    return TablesReport(
        until=end.isoformat(),
        entities=max(
            table.select(key_names(table) or [TIME]).n_unique() if key_names(table) else 1 for table in tables.values()
        ),
        rows={name: len(table) for name, table in tables.items()},
        features={name: tuple(feature_names(table)) for name, table in tables.items()},
    )


def key_names(table: pl.DataFrame) -> list[str]:
    return table.columns[: table.columns.index(TIME)]


def feature_names(table: pl.DataFrame) -> list[str]:
    return table.columns[table.columns.index(TIME) + 1 :]


def checked_tables(definition: str, tables: Tables, until: datetime, rows: int, most: int | None = None) -> Tables:
    """The tables of so many rows of data, sorted by key and time; raises InvalidInput naming table and column when one breaks
    the rules above. `most` is the definition's own limit of rows."""
    if not isinstance(tables, dict) or not tables:
        raise InvalidInput(f"{definition}: build() made no table; it must return a dict of table name to DataFrame")
    limit = max(FEW_ROWS, ROWS_A_ROW * rows) if most is None else most
    for name, table in tables.items():
        if isinstance(table, pl.DataFrame) and len(table) > limit:
            raise InvalidInput(
                f"{definition}: table '{name}' has {len(table):,} rows of {rows:,} rows of data, allowed are {limit:,}; a row "
                "whose time or key is wrong is the usual reason; where so many are meant, write MAX_ROWS = N into the file"
            )
    return {name: _checked(f"{definition}: table '{name}'", table, until) for name, table in tables.items()}


def _checked(what: str, table: pl.DataFrame, until: datetime) -> pl.DataFrame:
    if not isinstance(table, pl.DataFrame) or table.schema.get(TIME) != TIME_TYPE:
        got = table.schema.get(TIME) if isinstance(table, pl.DataFrame) else type(table).__name__
        raise InvalidInput(f"{what} needs '{TIME}' ({TIME_TYPE}) between the columns of its key and its features, it has {got}")
    if table.is_empty():
        raise InvalidInput(f"{what} has no rows before {until:%Y-%m-%d %H:%M}; there must be data before it")
    key, features = key_names(table), feature_names(table)
    for name in key:
        if table.schema[name] not in KEY_KINDS:
            raise InvalidInput(f"{what}: column '{name}' of the key is {table.schema[name]}, allowed: {_said(KEY_KINDS)}")
    wrong = [name for name in features if table.schema[name] not in KINDS]
    if wrong or not features:
        found = f"'{wrong[0]}' is {table.schema[wrong[0]]}" if wrong else "there are none"
        raise InvalidInput(f"{what}: features, the columns after '{TIME}', must be {_said(KINDS)}; {found}")
    for name in (*key, TIME):
        if table[name].null_count():
            raise InvalidInput(f"{what} has rows without '{name}'")
    latest = table[TIME].max()
    if isinstance(latest, datetime) and latest > until:
        raise InvalidInput(f"{what} has rows stamped {latest:%Y-%m-%d %H:%M}, none may be after {until:%Y-%m-%d %H:%M}")
    if not table.select(pl.struct(*key, TIME).is_unique().all()).item():
        raise InvalidInput(f"{what} has two rows for one {', '.join(repr(name) for name in key) or 'moment'} and '{TIME}'")
    floats = [name for name in features if table.schema[name] == pl.Float64]
    infinite = table.select(pl.col(floats).is_infinite().any()) if floats else None
    for name in floats:
        if infinite is not None and infinite[name][0]:
            raise InvalidInput(f"{what}: feature '{name}' has infinite values; use null for what is not known")
    return table.sort(*key, TIME)


def _said(kinds: Sequence[Any]) -> str:
    return ", ".join(kind.__name__ for kind in kinds)
