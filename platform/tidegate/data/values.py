"""A column of a source as the values that a definition says it has: converted, or invalid cell by cell, never guessed.

Both are told apart: what is empty in the source is null; what is there and is not of the column's kind is invalid. A type that
cannot hold such values at all (a list where numbers are wanted) is the file's fault and refuses it.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from tidegate.data.dataset import Column, Dataset
from tidegate.domain.errors import InvalidInput

ISO_TIMES = tuple(f"%Y-%m-%d{t}%H:%M{rest}" for t in "T " for rest in (":%S", "", ":%S%.f", ":%S%z", ":%S%.f%z"))
ISO_DATES = ("%Y-%m-%d",)
EPOCHS = {"epoch s": 1_000_000, "epoch ms": 1_000, "epoch us": 1}  # microseconds of one
WANTED = {
    "text": "text",
    "identifier": "text or whole numbers",
    "category": "text or whole numbers",
    "integer": "whole numbers",
    "number": "numbers",
    "boolean": "true or false",
    "timestamp": "a date and time as 2011-09-01 08:30:00",
    "date": "a day as 2011-09-01",
    "bytes": "bytes, as of an image",
}
HINTS = {
    "number": "where a comma or point is meant otherwise, name it in the definition: decimal=',', thousands='.'",
    "boolean": "name the texts that mean them in the definition: true=('Y',), false=('N',)",
    "timestamp": "name how it is written in the definition, as formats=('%d/%m/%Y %H:%M',): 03/04/2011 can be read in two ways",
    "date": "name how it is written in the definition, as formats=('%d/%m/%Y',): 03/04/2011 can be read in two ways",
    "category": "name all values that are allowed",
}
UTC_TIME = pl.Datetime("us", "UTC")
WHOLE = 2.0**63


@dataclass(frozen=True)
class Typed:
    """Converted columns, one mask of invalid cells a column, and the columns whose source has single precision."""

    columns: dict[str, pl.Series]
    invalid: dict[str, pl.Series]
    narrow: tuple[str, ...]


def typed(what: str, raw: pl.DataFrame, dataset: Dataset) -> Typed:
    """The columns of `dataset` of one file's rows; raises InvalidInput that names `what`, column, row and what is wanted."""
    columns, invalid, narrow = {}, {}, []
    for name, column in dataset.columns.items():
        found = _find(what, raw, column)
        values = raw[found]
        if values.dtype == pl.Float32 and column.kind == "number":
            narrow.append(name)
        given = _given(values, column)
        result = _converted(given, column, column.decimal or dataset.csv.decimal)
        if result is None:
            raise InvalidInput(f"{what}: column '{found}' is of type {raw[found].dtype}, required: {WANTED[column.kind]}")
        if column.values:
            result = result.set(~result.is_in(column.values).fill_null(True), None)
        bad = given.is_not_null() & result.is_null()
        if column.invalid is None:
            _refuse_if_most(what, found, column, given, bad)
        columns[name] = result.alias(name)
        invalid[name] = (bad if column.invalid != "null" else bad & False).alias(name)
    return Typed(columns, invalid, tuple(narrow))


def _find(what: str, raw: pl.DataFrame, column: Column) -> str:
    for name in column.names:
        if name in raw.columns:
            return name
    wanted = " or ".join(f"'{name}'" for name in column.names)
    raise InvalidInput(
        f"{what}: column {wanted} is missing; its columns are {', '.join(map(repr, raw.columns[:12]))}"
        f"{', ...' if len(raw.columns) > 12 else ''}"
    )


def _refuse_if_most(what: str, name: str, column: Column, given: pl.Series, bad: pl.Series) -> None:
    count = int(bad.sum())
    if 2 * count <= len(given) - given.null_count():
        return
    row = int(bad.arg_max() or 0)
    hint = f"; {HINTS[column.kind]}" if column.kind in HINTS and given.dtype == pl.String else ""
    raise InvalidInput(
        f"{what}: column '{name}' has '{given[row]}' in row {row + 1}, required: {WANTED[column.kind]}"
        f"{f' ({count:,} such rows)' if count > 1 else ''}{hint}"
    )


def _given(values: pl.Series, column: Column) -> pl.Series:
    """The values, null where the source has nothing, NaN or an infinity."""
    if values.dtype == pl.Null or isinstance(values.dtype, (pl.Categorical, pl.Enum)):
        values = values.cast(pl.String)
    if isinstance(values.dtype, pl.Decimal):
        values = values.cast(pl.Float64)
    if values.dtype.is_float():
        values = values.set(~values.is_finite().fill_null(True), None)
    if values.dtype == pl.String and column.kind != "text":
        values = values.str.strip_chars()
    if values.dtype == pl.String:
        values = values.set(values.is_in(column.empty).fill_null(False), None)
    return values


def _converted(values: pl.Series, column: Column, decimal: str) -> pl.Series | None:
    """The values as the column's kind, null where one does not convert; None where the whole type does not fit."""
    dtype, text = values.dtype, values.dtype == pl.String
    if column.kind == "text":
        return values if text else None
    if column.kind == "bytes":
        if isinstance(dtype, pl.Struct) and any(each.name == "bytes" for each in dtype.fields):
            values = values.struct.field("bytes")  # as tables of images have them, beside a path
        return values if values.dtype == pl.Binary else None
    if column.kind in ("identifier", "category") and (text or dtype.is_numeric()):
        if dtype.is_float():
            values = values.set(values != values.floor(), None).cast(pl.Int64, strict=False)
        result = values.cast(pl.String)
        return result.str.strip_suffix(".0") if text and column.kind == "identifier" else result
    if column.kind == "integer" and (text or dtype.is_numeric()):
        return _whole(_numbers(values, column, decimal) if text or dtype.is_float() else values, values)
    if column.kind == "number" and (text or dtype.is_numeric()):
        return _numbers(values, column, decimal)
    if column.kind == "boolean":
        return _booleans(values, column)
    if column.kind in ("timestamp", "date"):
        return _times(values, column)
    return None


def _whole(numbers: pl.Series, values: pl.Series) -> pl.Series:
    if not numbers.dtype.is_float():
        return numbers.cast(pl.Int64, strict=False)
    fits = (numbers == numbers.floor()) & (numbers.abs() < WHOLE)
    whole = numbers.set(~fits.fill_null(True), None).cast(pl.Int64, strict=False)
    # texts of more digits than a float holds are taken as they are
    return values.cast(pl.Int64, strict=False).fill_null(whole) if values.dtype == pl.String else whole


def _numbers(values: pl.Series, column: Column, decimal: str) -> pl.Series:
    if values.dtype == pl.Float32:
        # the shortest decimal that means the number: 2.55 in single precision is the 2.55 of double precision
        return values.cast(pl.String).cast(pl.Float64)
    if values.dtype == pl.String:
        if column.thousands:
            point, comma = _escaped(decimal), _escaped(column.thousands)
            grouped = values.str.contains(rf"^[+-]?\d{{1,3}}({comma}\d{{3}})+({point}\d*)?$")
            plain = values.str.replace_all(column.thousands, "", literal=True)
            values = plain.zip_with(grouped.fill_null(False), values)
        if decimal != ".":
            swapped = values.str.replace_all(decimal, ".", literal=True)
            values = swapped.set(values.str.contains(".", literal=True).fill_null(False), None)
    numbers = values.cast(pl.Float64, strict=False)
    return numbers.set(~numbers.is_finite().fill_null(True), None)


def _escaped(text: str) -> str:
    return "".join(f"[{each}]" for each in text)


def _booleans(values: pl.Series, column: Column) -> pl.Series | None:
    if values.dtype == pl.Boolean:
        return values
    if values.dtype.is_numeric():
        return (values == 1).set(~values.is_in([0, 1]).fill_null(True), None)
    if values.dtype != pl.String:
        return None
    named = bool(column.true or column.false)
    lower = values if named else values.str.to_lowercase()
    true, false = (column.true, column.false) if named else (("true", "1"), ("false", "0"))
    yes, no = lower.is_in(true), lower.is_in(false)
    return yes.set(~(yes | no).fill_null(True), None)


def _times(values: pl.Series, column: Column) -> pl.Series | None:
    dtype, day = values.dtype, column.kind == "date"
    if isinstance(dtype, pl.Datetime):
        times = _zoned(values.cast(pl.Datetime("us", dtype.time_zone)), column)
        if not day:
            return times
        days = values.dt.date()
        return days.set((values.dt.truncate("1d") != values).fill_null(False), None)
    if dtype == pl.Date:
        return values if day else None
    epoch = next((EPOCHS[form] for form in column.formats if form in EPOCHS), None)
    if epoch and (dtype == pl.String or dtype.is_numeric()) and not day:
        count = values.cast(pl.Float64, strict=False)
        micros = (count * epoch).round(0).cast(pl.Int64, strict=False)
        return micros.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    if dtype != pl.String:
        return None
    forms = column.formats or (ISO_DATES if day else ISO_TIMES)
    parsed = [_parsed(values, form, column) for form in forms]
    frame = pl.DataFrame([each.alias(str(i)) for i, each in enumerate(parsed)])
    one = frame.select(pl.coalesce(pl.all()).alias("v")).to_series()
    for each in parsed:
        one = one.set((each != one).fill_null(False), None)  # two formats read it in two ways
    return one


def _parsed(values: pl.Series, form: str, column: Column) -> pl.Series:
    try:
        if column.kind == "date":
            result = values.str.to_date(form, strict=False)
        elif "%z" in form:
            result = values.str.to_datetime(form, strict=False, time_unit="us").cast(UTC_TIME)
        else:
            result = _zoned(values.str.to_datetime(form, strict=False, time_unit="us"), column)
    except pl.exceptions.PolarsError as error:
        raise InvalidInput(f"format '{form}' of a {column.kind} is not understood ({error}); write it as '%d/%m/%Y'") from error
    if "%Y" in form:  # four digits: 11-12-02 is not the year 11
        result = result.set(~values.str.contains(r"\d{4}").fill_null(True), None)
    return result


def _zoned(values: pl.Series, column: Column) -> pl.Series:
    """Times on the wall clock of the column's zone as UTC; those that clock shows twice or never have no meaning."""
    if isinstance(values.dtype, pl.Datetime) and values.dtype.time_zone is not None:
        return values.dt.convert_time_zone("UTC").cast(UTC_TIME)
    try:
        zoned = values.dt.replace_time_zone(column.zone, ambiguous="null", non_existent="null")
    except pl.exceptions.PolarsError as error:
        raise InvalidInput(f"zone '{column.zone}' of a timestamp is not known ({error}); write it as 'Europe/Paris'") from error
    return zoned.dt.convert_time_zone("UTC").cast(UTC_TIME)
