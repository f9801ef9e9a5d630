"""Feature tables: what a definition's `build(data, until)` makes of ingested data, checked and written as Parquet.

`data` maps the names of classes to their rows before `until`, a moment in UTC. A definition may also name the classes it wants
as parameters: `build(orders, returns, until)`. It returns a table a feature view, each with the columns of the key, then
`event_timestamp`, then the features: what stands to the left of the timestamp is the key (none, for what is known of all
together), what stands to the right is known of it at that time.

The tables of a model lie in one folder, `state/features/<model>/tables/<view>.parquet`, which is replaced as a whole: a reader
never meets the tables of two builds, or of two models. Checked is what the feature store relies on: one row for each key and
timestamp, timestamps in UTC and none after `until`, keys without nulls, features of KINDS without infinities, no table
without rows, and none that grows out of proportion to the data.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import polars as pl

from tidegate.data.model_data import ModelData
from tidegate.domain.errors import InvalidInput, TidegateError
from tidegate.files.replaced_folder import replaced_folder
from tidegate.files.source_code import Sources

TIME = "event_timestamp"
TIME_TYPE = pl.Datetime("us", "UTC")
KINDS = (pl.Float64, pl.Int64, pl.Boolean, pl.String)
KEY_KINDS = (pl.String, pl.Int64, pl.Int32, pl.Boolean)
SIGNATURE = "build(data, until)"
ROWS_A_ROW, FEW_ROWS = 100, 100_000  # a table may have so many rows for each row of the data, and always so many

Tables = dict[str, pl.DataFrame]
Build = Callable[[Mapping[str, pl.DataFrame], datetime], Tables]


@dataclass(frozen=True)
class TablesReport:
    """Rows, keys and features by table, of data before `until` (ISO)."""

    until: str
    entities: int
    rows: Mapping[str, int]
    features: Mapping[str, tuple[str, ...]]


def load_build(path: Path) -> Build:
    """The function `build` of a Python file; raises InvalidInput."""
    if not path.is_file():
        raise InvalidInput(f"feature tables: no file {path}; it must define {SIGNATURE}")
    if path.suffix != ".py":
        raise InvalidInput(f"feature tables: {path} is not a Python file; its name must end with .py")
    try:
        module = Sources.beside(path).module(path.name)
    except Exception as error:
        raise InvalidInput(f"feature tables: {path} cannot be loaded: {type(error).__name__}: {error}") from error
    return _build_of(module, path)


def _build_of(module: ModuleType, path: Path) -> Build:
    build: Any = getattr(module, "build", None)
    if not callable(build):
        raise InvalidInput(f"feature tables: {path} defines no function {SIGNATURE}")
    names = list(inspect.signature(build).parameters)
    if len(names) < 2 or names[-1] != "until":
        raise InvalidInput(f"feature tables: {path} defines build({', '.join(names)}), required {SIGNATURE}")

    def call(data: Mapping[str, pl.DataFrame], until: datetime) -> Tables:
        if missing := [name for name in names[:-1] if name not in data] if names != ["data", "until"] else []:
            raise InvalidInput(
                f"feature tables: {path} defines build({', '.join(names)}), and the data have no class '{missing[0]}'; "
                f"its classes are {', '.join(data)}"
            )
        try:
            tables = build(data, until) if names == ["data", "until"] else build(*(data[name] for name in names[:-1]), until)
        except TidegateError:
            raise
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            raise InvalidInput(
                f"feature tables: build() of {path} failed before {until}: {type(error).__name__}: {reason}"
            ) from error
        return tables  # type: ignore[no-any-return]

    return call


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
    tables = checked_tables(definition.name, build(before.classes, end), end, len(before))
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


def checked_tables(definition: str, tables: Tables, until: datetime, rows: int) -> Tables:
    """The tables of so many rows of data, sorted by key and time; raises InvalidInput naming table and column when one breaks
    the rules above."""
    if not isinstance(tables, dict) or not tables:
        raise InvalidInput(f"{definition}: build() made no table; it must return a dict of table name to DataFrame")
    return {name: _checked(f"{definition}: table '{name}'", table, until, rows) for name, table in tables.items()}


def _checked(what: str, table: pl.DataFrame, until: datetime, rows: int) -> pl.DataFrame:
    if not isinstance(table, pl.DataFrame) or table.schema.get(TIME) != TIME_TYPE:
        got = table.schema.get(TIME) if isinstance(table, pl.DataFrame) else type(table).__name__
        raise InvalidInput(f"{what} needs '{TIME}' ({TIME_TYPE}) between the columns of its key and its features, it has {got}")
    if table.is_empty():
        raise InvalidInput(f"{what} has no rows before {until:%Y-%m-%d %H:%M}; there must be data before it")
    limit = max(FEW_ROWS, ROWS_A_ROW * rows)
    if len(table) > limit:
        raise InvalidInput(
            f"{what} has {len(table):,} rows of {rows:,} rows of data, allowed are {limit:,}: a row whose time or key is "
            "wrong is the usual reason; make fewer"
        )
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
