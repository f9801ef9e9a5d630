"""Reading source files as they come: Parquet or CSV, checked against a definition's columns before a row is used.

A file that is missing, empty, truncated or of another kind, a column that is missing and a column or cell of the wrong type
are the user's mistakes: one InvalidInput that names file and column. Rows are numbered from 1 in the file's own order, and
their original values are kept as text, so that whatever is refused later can be found again in the source.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import polars as pl

from tidegate.domain.errors import InvalidInput

Kind = Literal["text", "identifier", "integer", "number", "timestamp"]
SUFFIXES = (".parquet", ".csv")
ROW = "source_row"
ORIGINAL = "original"
TIME_FORMATS = ("%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M")
WANTED = {
    "text": "text",
    "identifier": "text or whole numbers",
    "integer": "whole numbers",
    "number": "numbers",
    "timestamp": f"a date and time (in CSV as {' or '.join(TIME_FORMATS)})",
}
UTC_TIME = pl.Datetime("us", "UTC")


@dataclass(frozen=True)
class Column:
    """A column of the source: its names there (the first that is found counts), the kind of its values, may it be empty.

    An `identifier` is text that some files store as a number: 13085.0 is '13085'. `empty` lists texts that stand for
    nothing. A timestamp without a zone is taken as it is, as UTC: days are days of the source's own wall clock.
    """

    names: tuple[str, ...]
    kind: Kind
    nullable: bool = False
    empty: tuple[str, ...] = ("",)


def read_source(path: Path, columns: Mapping[str, Column]) -> pl.DataFrame:
    """The file's rows with the canonical `columns`, `source_row` (from 1) and `original` (the row as a JSON text)."""
    raw = _read(path)
    if raw.is_empty():
        raise InvalidInput(f"source file {path}: it has no rows; give a file with at least one row")
    found = {name: _find(path, raw, column) for name, column in columns.items()}
    typed = [_typed(path, raw, found[name], column).alias(name) for name, column in columns.items()]
    original = raw.select(pl.struct(pl.all()).struct.json_encode().alias(ORIGINAL))[ORIGINAL]
    rows = pl.Series(ROW, range(1, len(raw) + 1), dtype=pl.Int64)
    return pl.DataFrame([*typed, rows, original])


def _read(path: Path) -> pl.DataFrame:
    if path.suffix.lower() not in SUFFIXES:
        raise InvalidInput(f"source file {path}: its name ends with '{path.suffix}', allowed are {' and '.join(SUFFIXES)}")
    if not path.is_file():
        raise InvalidInput(f"source file {path} does not exist; name an existing file under 'sources'")
    if path.stat().st_size == 0:
        raise InvalidInput(f"source file {path}: it is empty (0 bytes); fetch it again")
    try:
        if path.suffix.lower() == ".parquet":
            return _read_parquet(path)
        return pl.read_csv(path, infer_schema=False)
    except InvalidInput:
        raise
    # A damaged file can make the reader panic, which is a BaseException of its own.
    except (Exception, pl.exceptions.PanicException) as error:
        kind = "Parquet" if path.suffix.lower() == ".parquet" else "CSV in UTF-8"
        reason = " ".join(str(error).split())[:160]
        raise InvalidInput(f"source file {path}: it cannot be read as {kind} ({reason}); fetch the whole file again") from error


def _read_parquet(path: Path) -> pl.DataFrame:
    with path.open("rb") as handle:
        start = handle.read(4)
        handle.seek(max(0, path.stat().st_size - 4))
        end = handle.read(4)
    if start != b"PAR1":
        raise InvalidInput(f"source file {path}: it is not Parquet (it does not start with PAR1); give a Parquet or CSV file")
    if end != b"PAR1":
        raise InvalidInput(f"source file {path}: it is truncated (a Parquet file ends with PAR1); fetch the whole file again")
    return pl.read_parquet(path)


def _find(path: Path, raw: pl.DataFrame, column: Column) -> str:
    for name in column.names:
        if name in raw.columns:
            return name
    wanted = " or ".join(f"'{name}'" for name in column.names)
    raise InvalidInput(
        f"source file {path}: column {wanted} is missing; its columns are {', '.join(map(repr, raw.columns[:12]))}"
        f"{', ...' if len(raw.columns) > 12 else ''}"
    )


def _typed(path: Path, raw: pl.DataFrame, name: str, column: Column) -> pl.Series:
    """The column as its kind; null where the source has nothing, NaN or an infinity."""
    values = raw[name]
    if values.dtype == pl.Null:
        values = values.cast(pl.String)
    if values.dtype.is_float():
        values = values.set(~values.is_finite().fill_null(True), None)
    if values.dtype == pl.String and column.kind != "text":
        values = values.str.strip_chars()
    if values.dtype == pl.String:
        values = values.set(values.is_in(column.empty).fill_null(False), None)
    result = _converted(values, column.kind)
    if result is None:
        raise InvalidInput(f"source file {path}: column '{name}' is of type {values.dtype}, required: {WANTED[column.kind]}")
    bad = (values.is_not_null() & result.is_null()).arg_true()
    if len(bad):
        row = int(bad[0])
        raise InvalidInput(
            f"source file {path}: column '{name}' has '{values[row]}' in row {row + 1}, required: {WANTED[column.kind]}"
            f"{f' ({len(bad)} such rows)' if len(bad) > 1 else ''}"
        )
    return result


def _converted(values: pl.Series, kind: Kind) -> pl.Series | None:
    """The values as `kind`, null where one does not convert; None where the whole type does not fit."""
    dtype = values.dtype
    text = dtype == pl.String
    if kind == "text" and text:
        return values
    if kind == "identifier" and (text or dtype.is_numeric()):
        if dtype.is_float():
            values = values.cast(pl.Int64, strict=False).set(values != values.floor(), None)
        result = values.cast(pl.String)
        return result.str.strip_suffix(".0") if text else result
    if kind == "integer" and (text or dtype.is_integer()):
        return values.cast(pl.Int64, strict=False)
    if kind == "number" and (text or dtype.is_numeric()):
        numbers = values.cast(pl.Float64, strict=False)
        return numbers.set(~numbers.is_finite().fill_null(True), None)
    if kind == "timestamp" and isinstance(dtype, pl.Datetime):
        zoned = values.dt.replace_time_zone("UTC") if dtype.time_zone is None else values.dt.convert_time_zone("UTC")
        return zoned.cast(UTC_TIME)
    if kind == "timestamp" and text:
        parsed = [pl.col("v").str.to_datetime(form, strict=False, time_unit="us") for form in TIME_FORMATS]
        return values.alias("v").to_frame().select(pl.coalesce(parsed).dt.replace_time_zone("UTC")).to_series()
    return None
