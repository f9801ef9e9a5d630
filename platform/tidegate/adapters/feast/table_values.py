"""Values of feature tables, as they come from Feast, and their exact places: numbers as float64, texts, entities.

A column that is not what its definition says is the user's mistake, named with its view; so is a whole number that float64 does
not hold, because the value served would be another one.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl

from tidegate.domain.errors import InvalidInput
from tidegate.domain.keys import BOOLEAN, TEXT, Key, entities_of, entity_of

EXACT = 2**53  # up to it, float64 holds every whole number
WORDS = (pl.String, pl.Categorical, pl.Enum)


def numbers_of(frame: pl.DataFrame, types: Mapping[str, str], what: str) -> np.ndarray:
    """float64 [n, columns of `types` that are no texts], NaN where null; raises InvalidInput."""
    names = [name for name, datatype in types.items() if datatype != TEXT]
    for name in names:
        _refuse_other_numbers(frame[name], what)
    if not names:
        return np.empty((len(frame), 0))
    return frame.select(pl.col(names).cast(pl.Float64).fill_null(np.nan)).to_numpy()


def texts_of(frame: pl.DataFrame, types: Mapping[str, str], what: str) -> dict[str, list[str | None]]:
    """The columns of `types` that are texts; raises InvalidInput."""
    texts = {}
    for name, datatype in types.items():
        if datatype == TEXT:
            column = frame[name]
            if not isinstance(column.dtype, (*WORDS, pl.Null)):
                raise InvalidInput(f"{what}: column '{name}' is {column.dtype}, its definition says String; make them agree")
            texts[name] = column.cast(pl.String).to_list()
    return texts


def key_frame(frame: pl.DataFrame, key: Key, what: str) -> pl.DataFrame:
    """The key's columns, each of the type that the key says; raises InvalidInput for a null or a column of another type."""
    columns = []
    for part in key:
        column = frame[part.name]
        if column.null_count():
            raise InvalidInput(f"{what}: {column.null_count():,} rows have no '{part.name}', which is part of the key")
        wanted: pl.DataType = {TEXT: pl.String(), BOOLEAN: pl.Boolean()}.get(part.datatype, pl.Int64())
        fits = (
            isinstance(column.dtype, WORDS)
            if part.datatype == TEXT
            else column.dtype == wanted or (wanted == pl.Int64 and column.dtype.is_integer())
        )
        if not fits and not column.is_empty():
            raise InvalidInput(f"{what}: join key '{part.name}' is {column.dtype}, required {part.datatype} ({wanted})")
        columns.append(column.cast(wanted))
    return pl.DataFrame(columns)


def entities_in(frame: pl.DataFrame, key: Key, what: str) -> list[str]:
    """The entity of each row; raises InvalidInput."""
    if not key:
        return [entity_of((), key)] * len(frame)
    keys = key_frame(frame, key, what)
    return entities_of({name: keys[name].to_list() for name in keys.columns}, key)


def series(name: str, values: np.ndarray, datatype: str) -> pl.Series:
    """A feature as frames have it: Float32, or what its datatype is, null where it is missing."""
    if datatype == TEXT:
        return pl.Series(name, values.tolist(), dtype=pl.String)
    if not datatype:
        return pl.Series(name, values.astype(np.float32)).fill_nan(None)
    return pl.Series(name, values.astype(np.float64)).fill_nan(None).cast(pl.Boolean if datatype == BOOLEAN else pl.Int64)


def _refuse_other_numbers(column: pl.Series, what: str) -> None:
    if not (column.dtype.is_numeric() or column.dtype in (pl.Boolean, pl.Null)):
        raise InvalidInput(f"{what}: column '{column.name}' is {column.dtype}, its definition says a number; make them agree")
    if column.dtype.is_integer() and len(column.drop_nulls()):
        beyond = column.filter((column < -EXACT) | (column > EXACT))
        if len(beyond):
            raise InvalidInput(
                f"{what}: column '{column.name}' has the whole number {beyond[0]}, which a feature does not hold exactly "
                "(beyond 2^53); define it as a String"
            )
