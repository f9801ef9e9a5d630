"""The rows that were taken of a dataset's source, typed and with their originals: what the next pull is added to.

    taken.parquet   the definition's columns, source, source_row, original, invalid (the first column with an invalid cell)
    taken.json      the source's cursor, its parts, by what definition and reader the rows were made, and digests of all files

A definition or a reader that changed makes cells otherwise, so then everything is taken anew. That needs a source that gives
its rows again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from tidegate.data.dataset import ORIGINAL, SOURCE, SOURCE_ROW, Dataset
from tidegate.data.values import typed
from tidegate.domain.errors import InvalidInput
from tidegate.files.digests import file_digest, folder_files
from tidegate.ports.dataset_source import DatasetSource, Pulled, SourceRows

ROWS, STATE = "taken.parquet", "taken.json"
INVALID = "invalid"
READER = 1  # how cells become values


@dataclass(frozen=True)
class Taken:
    """Rows in the order of the source. `parts`: digest of each part; `narrow`: its columns of numbers in single precision."""

    rows: pl.DataFrame
    parts: Mapping[str, str]
    narrow: Mapping[str, list[str]]
    cursor: Mapping[str, Any]

    def write(self, dataset: Dataset, folder: Path) -> None:
        """Add what was taken to the files in `folder`, and the digests of them all."""
        self.rows.write_parquet(folder / ROWS, compression="zstd", compression_level=1)
        state = {
            "reader": READER,
            "definition": dataset.digest,
            "parts": dict(self.parts),
            "narrow": dict(self.narrow),
            "cursor": self.cursor,
            "files": folder_files(folder),
        }
        (folder / STATE).write_text(json.dumps(state, indent=2) + "\n", encoding="utf-8")


def take(dataset: Dataset, source: DatasetSource, folder: Path) -> tuple[Taken | None, Pulled]:
    """What was taken before, if it still holds, with what is new of `source`; None where nothing is and the files of `folder`
    are those that were made of it. Raises InvalidInput, Unavailable."""
    state = _state(dataset, source, folder)
    pulled = source.pull(state["cursor"] if state else None)
    if state is None:
        return _with(dataset, None, pulled), pulled
    if not (pulled.rows or pulled.replaced) and list(pulled.parts.items()) == list(state["parts"].items()):
        return None, pulled
    return _with(
        dataset, Taken(pl.read_parquet(folder / ROWS), state["parts"], state["narrow"], state["cursor"]), pulled
    ), pulled


def _state(dataset: Dataset, source: DatasetSource, folder: Path) -> dict[str, Any] | None:
    """How far the source was taken; None where all is to be taken anew."""
    if not (folder / STATE).is_file():
        return None
    try:
        state: dict[str, Any] = json.loads((folder / STATE).read_bytes())
        whole = all(file_digest(folder / name) == digest for name, digest in state["files"].items())
        same = dataset.digest and (state["reader"], state["definition"]) == (READER, dataset.digest)
        if whole and same:
            return state
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass  # damaged
    if not source.capabilities.rereads:
        raise InvalidInput(
            f"dataset '{dataset.name}': what was taken of its source is damaged, or was made by another definition, and the "
            "source gives no row a second time; restore both, or give the changed definition a name of its own"
        )
    return None


def _with(dataset: Dataset, earlier: Taken | None, pulled: Pulled) -> Taken:
    frames, narrow = [], {}
    if earlier is not None:
        kept = [part for part in earlier.parts if part in pulled.parts and part not in pulled.replaced]
        frames.append(earlier.rows.filter(pl.col(SOURCE).is_in(kept)))
        narrow = {part: names for part, names in earlier.narrow.items() if part in kept}
    for rows in pulled.rows:
        frame, single = _typed(dataset, rows)
        frames.append(frame)
        if single or rows.part in narrow:
            narrow[rows.part] = sorted({*narrow.get(rows.part, []), *single})
    if not frames:
        raise InvalidInput(f"dataset '{dataset.name}': its source has nothing; check the sources")
    order = {part: number for number, part in enumerate(pulled.parts)}
    whole = pl.concat(frames).with_columns(pl.col(SOURCE).replace_strict(order, return_dtype=pl.Int64).alias("part"))
    return Taken(
        whole.sort("part", SOURCE_ROW).drop("part").rechunk(), pulled.parts, dict(sorted(narrow.items())), pulled.cursor
    )


def _typed(dataset: Dataset, rows: SourceRows) -> tuple[pl.DataFrame, tuple[str, ...]]:
    values = typed(f"source file {rows.part}", rows.raw, dataset)
    original = _written(rows.raw).select(pl.struct(pl.all()).struct.json_encode().alias(ORIGINAL))
    first_invalid = pl.coalesce([pl.when(mask).then(pl.lit(name)) for name, mask in values.invalid.items()])
    invalid = (
        pl.select(first_invalid.cast(pl.String).alias(INVALID))
        if len(rows.raw)
        else pl.DataFrame({INVALID: pl.Series([], dtype=pl.String)})
    )
    frame = pl.DataFrame(list(values.columns.values())).with_columns(
        pl.lit(rows.part).alias(SOURCE), rows.numbers.alias(SOURCE_ROW), original[ORIGINAL], invalid[INVALID]
    )
    return frame, values.narrow


def _written(raw: pl.DataFrame) -> pl.DataFrame:
    """The rows with bytes, which JSON has no form for, by their number; source and row say where they are."""
    words = [
        (pl.col(name).bin.size().cast(pl.String) + pl.lit(" bytes")).alias(name)
        if dtype == pl.Binary
        else pl.when(pl.col(name).is_not_null()).then(pl.lit("bytes")).alias(name)
        for name, dtype in raw.schema.items()
        if "Binary" in repr(dtype)
    ]
    return raw.with_columns(words)
