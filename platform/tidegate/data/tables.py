"""Feature tables: what a definition's `build(sales, returns, until)` makes of ingested data, checked and written as Parquet.

The tables of a model lie in one folder, `state/features/<model>/tables/<view>.parquet`, which is replaced as a whole: a reader
never meets the tables of two builds, or of two models. Checked is what the feature store relies on: one row for each SKU and
timestamp, timestamps in UTC and none after `until`, features of type Float64 without infinities, and no table without rows.

Commands call `build_tables(repo / "demand_tables.py", state / "data" / model, feature_folder(state, model).tables)`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

from tidegate.domain.errors import InvalidInput, NotFound
from tidegate.files.replaced_folder import replaced_folder
from tidegate.files.source_code import Sources

ENTITY = "sku"
TIME = "event_timestamp"
TIME_TYPE = pl.Datetime("us", "UTC")

Tables = dict[str, pl.DataFrame]
Build = Callable[[pl.DataFrame, pl.DataFrame, datetime], Tables]


@dataclass(frozen=True)
class TablesReport:
    """Rows and features by table, of data before `until` (ISO)."""

    until: str
    entities: int
    rows: Mapping[str, int]
    features: Mapping[str, tuple[str, ...]]


def load_build(path: Path) -> Build:
    """The function `build` of a Python file; raises InvalidInput."""
    if not path.is_file():
        raise InvalidInput(f"feature tables: no file {path}; it must define build(sales, returns, until)")
    if path.suffix != ".py":
        raise InvalidInput(f"feature tables: {path} is not a Python file; its name must end with .py")
    try:
        module = Sources.beside(path).module(path.name)
    except Exception as error:
        raise InvalidInput(f"feature tables: {path} cannot be loaded: {type(error).__name__}: {error}") from error
    build = getattr(module, "build", None)
    if not callable(build):
        raise InvalidInput(f"feature tables: {path} defines no function build(sales, returns, until)")
    return build  # type: ignore[no-any-return]


def read_lines(data: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Sales and returns of an ingestion; raises NotFound."""
    for name in ("sales", "returns"):
        if not (data / f"{name}.parquet").is_file():
            raise NotFound(f"no ingested {name} in {data}; run 'tidegate ingest' first")
    return pl.read_parquet(data / "sales.parquet"), pl.read_parquet(data / "returns.parquet")


def day_after_last(sales: pl.DataFrame) -> datetime:
    """The midnight (UTC) that ends the last day with a sale: the latest `until` for which every day is whole."""
    last: datetime = sales.select(pl.col("at").dt.truncate("1d").max()).item()
    return last + timedelta(days=1)


def build_tables(
    definition: Path, data: Path, out: Path, until: datetime | None = None, progress: Callable[[str], None] | None = None
) -> TablesReport:
    """Build the tables of all data before `until` (default: the end of the last day with a sale) and replace `out`.

    Raises InvalidInput when the definition or what it makes is wrong, NotFound without ingested data, Unavailable.
    """
    build = load_build(definition)
    sales, returns = read_lines(data)
    end = until.astimezone(UTC) if until else day_after_last(sales)
    if progress:
        progress(f"computing features of {sales[ENTITY].n_unique()} SKUs until {end:%Y-%m-%d}")
    tables = checked_tables(definition.name, build(sales, returns, end), end)
    with replaced_folder(out, f"feature tables of {definition.name}") as folder:
        for name, table in tables.items():
            table.write_parquet(folder / f"{name}.parquet", compression="zstd", compression_level=1, statistics=True)
    return TablesReport(
        until=end.isoformat(),
        entities=max(table[ENTITY].n_unique() for table in tables.values()),
        rows={name: len(table) for name, table in tables.items()},
        features={name: tuple(feature_names(table)) for name, table in tables.items()},
    )


def feature_names(table: pl.DataFrame) -> list[str]:
    return [name for name in table.columns if name not in (ENTITY, TIME)]


def checked_tables(definition: str, tables: Tables, until: datetime) -> Tables:
    """The tables sorted by SKU and time; raises InvalidInput naming table and column when one breaks the rules above."""
    if not isinstance(tables, dict) or not tables:
        raise InvalidInput(f"{definition}: build() made no table; it must return a dict of table name to DataFrame")
    return {name: _checked(f"{definition}: table '{name}'", table, until) for name, table in tables.items()}


def _checked(what: str, table: pl.DataFrame, until: datetime) -> pl.DataFrame:
    if table.is_empty():
        raise InvalidInput(f"{what} has no rows before {until:%Y-%m-%d}; there must be a sale before it")
    if table.schema.get(ENTITY) != pl.String or table.schema.get(TIME) != TIME_TYPE:
        raise InvalidInput(
            f"{what} needs '{ENTITY}' (String) and '{TIME}' ({TIME_TYPE}), it has "
            f"{table.schema.get(ENTITY)} and {table.schema.get(TIME)}"
        )
    features = feature_names(table)
    wrong = [name for name in features if table.schema[name] != pl.Float64]
    if wrong or not features:
        raise InvalidInput(f"{what}: features must be Float64, {wrong or 'there are none'}")
    nulls = table.null_count()
    if nulls[ENTITY][0] or nulls[TIME][0]:
        raise InvalidInput(f"{what} has rows without '{ENTITY}' or '{TIME}'")
    latest = table[TIME].max()
    if isinstance(latest, datetime) and latest > until:
        raise InvalidInput(f"{what} has rows stamped {latest:%Y-%m-%d %H:%M}, none may be after {until:%Y-%m-%d %H:%M}")
    if not table.select(pl.struct(ENTITY, TIME).is_unique().all()).item():
        raise InvalidInput(f"{what} has two rows for one '{ENTITY}' and '{TIME}'")
    infinite = table.select(pl.col(features).is_infinite().any())
    for name in features:
        if infinite[name][0]:
            raise InvalidInput(f"{what}: feature '{name}' has infinite values; use null for what is not known")
    return table.sort(ENTITY, TIME)
