"""Files of rows by Apache Arrow: Parquet and CSV are read, Parquet is written; a batch in memory at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from tidegate.domain.errors import InvalidInput, Unavailable
from tidegate.files.durable_files import sync_folder
from tidegate.ports.row_files import Batch, Column

SUFFIXES = (".parquet", ".csv")
ARROW = {  # by the Open Inference Protocol's names
    "BYTES": pa.string(),
    "BOOL": pa.bool_(),
    **{
        name: getattr(pa, name.lower())() for name in ("INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64")
    },
    "FP32": pa.float32(),
    "FP64": pa.float64(),
}
ERROR = "error"  # why a row has no prediction


class ArrowRows:
    """Implements `tidegate.ports.row_files.RowSource`. `types` are the datatypes that a CSV file's columns are read as;
    those of other columns are inferred."""

    def __init__(self, path: Path, types: Mapping[str, str]) -> None:
        if path.suffix not in SUFFIXES:
            raise InvalidInput(f"input {path} ends with '{path.suffix}', required: {' or '.join(SUFFIXES)}")
        if not path.is_file():
            raise InvalidInput(f"input {path} does not exist; name a file of rows")
        self._path, self._types = path, {name: ARROW[kind] for name, kind in types.items() if kind in ARROW}
        self.rows: int | None = None
        try:
            if path.suffix == ".parquet":
                file = pq.ParquetFile(path)
                self.rows, names = file.metadata.num_rows, file.schema_arrow.names
            else:
                names = self._open_csv().schema.names
        except (pa.ArrowException, OSError) as error:
            raise self._unreadable(error) from error
        self.columns = tuple(names)

    def batches(self, size: int, skip: int = 0) -> Iterator[Batch]:
        """See the port."""
        for number, table in enumerate(self._tables(size)):
            if number >= skip:
                yield Batch({name: _column(table[name]) for name in table.column_names}, len(table), table)

    def _tables(self, size: int) -> Iterator[pa.Table]:
        try:
            if self._path.suffix == ".parquet":
                for batch in pq.ParquetFile(self._path).iter_batches(batch_size=size):
                    yield pa.Table.from_batches([batch])
                return
            waiting: pa.Table | None = None
            for batch in self._open_csv():
                table = pa.Table.from_batches([batch])
                waiting = table if waiting is None else pa.concat_tables([waiting, table])
                while len(waiting) >= size:
                    yield waiting.slice(0, size).combine_chunks()
                    waiting = waiting.slice(size)
            if waiting is not None and len(waiting):
                yield waiting.combine_chunks()
        except (pa.ArrowException, OSError) as error:
            raise self._unreadable(error) from error

    def _open_csv(self) -> pa_csv.CSVStreamingReader:
        # an empty field is a missing value of any type but a text
        return pa_csv.open_csv(self._path, convert_options=pa_csv.ConvertOptions(column_types=self._types))

    def _unreadable(self, error: Exception) -> InvalidInput:
        return InvalidInput(
            f"input {self._path} cannot be read ({' '.join(str(error).split())[:200]}); mend it or write it again"
        )


class ArrowParquet:
    """Implements `tidegate.ports.row_files.RowSink`; `notes` are written into each file's metadata."""

    def __init__(self, notes: Mapping[str, str]) -> None:
        self._notes = {f"tidegate.{name}": text for name, text in notes.items()}

    def write(self, path: Path, batch: Batch, made: Mapping[str, np.ndarray], errors: Sequence[str | None]) -> None:
        """See the port."""
        table: pa.Table = batch.as_read
        failed = np.array([error is not None for error in errors], dtype=bool)
        for name, values in made.items():
            table = table.append_column(name, _array(values, failed))
        table = table.append_column(ERROR, pa.array(list(errors), pa.string()))
        notes = {**(table.schema.metadata or {}), **self._notes}
        self._durably(path, [table.replace_schema_metadata(notes)])

    def join(self, parts: Sequence[Path], into: Path) -> int:
        """See the port."""
        return self._durably(into, (pq.read_table(part) for part in parts))

    def _durably(self, path: Path, tables: Any) -> int:
        rows, writer = 0, None
        aside = path.with_name(f".{path.name}.writing")
        try:
            with aside.open("wb") as file:
                for table in tables:
                    writer = writer or pq.ParquetWriter(file, table.schema, compression="zstd")
                    writer.write_table(table)
                    rows += len(table)
                if writer is not None:
                    writer.close()
                file.flush()
                os.fsync(file.fileno())
            aside.replace(path)
            sync_folder(path.parent)
        except OSError as error:
            raise Unavailable(
                f"writing {path}: {error.strerror or error}; make room or fix permissions and run it again"
            ) from error
        except pa.ArrowException as error:
            raise InvalidInput(f"writing {path}: rows of different types ({' '.join(str(error).split())[:200]})") from error
        finally:
            aside.unlink(missing_ok=True)
        return rows


def _column(chunked: pa.ChunkedArray) -> Column:
    """A column as an array where nothing is missing and all values have one shape, else as a list."""
    array = chunked.combine_chunks()
    array = array.chunk(0) if isinstance(array, pa.ChunkedArray) else array
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    shape: list[int] = [len(array)]
    values = array
    while _is_list(values.type) and not values.null_count and len(values):
        lengths = np.unique(values.value_lengths().to_numpy(zero_copy_only=False))
        if len(lengths) != 1:
            return list(array.to_pylist())
        shape.append(int(lengths[0]))
        values = values.flatten()
    plain = pa.types.is_integer(values.type) or pa.types.is_floating(values.type) or pa.types.is_boolean(values.type)
    if values.null_count or not plain:
        return list(array.to_pylist())
    plain_values: np.ndarray = values.to_numpy(zero_copy_only=False)
    return plain_values.reshape(shape)


def _is_list(of: pa.DataType) -> bool:
    return bool(pa.types.is_list(of) or pa.types.is_large_list(of) or pa.types.is_fixed_size_list(of))


def _array(values: np.ndarray, failed: np.ndarray) -> pa.Array:
    """[n] or [n, 1] as plain values, more axes as lists, nulls where a row failed; a date of microseconds is one in UTC."""
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.dtype.kind == "M":
        return pa.array(values, pa.timestamp("us", "UTC"), mask=failed)
    if values.ndim == 1:
        return pa.array(values, pa.string() if values.dtype.kind == "O" else None, mask=failed)
    flat = pa.array(values.reshape(-1), pa.string() if values.dtype.kind == "O" else None)
    for size in reversed(values.shape[2:]):
        flat = pa.FixedSizeListArray.from_arrays(flat, size).cast(pa.list_(flat.type))
    size = values.shape[1]
    offsets = pa.array(np.arange(len(values) + 1, dtype=np.int32) * size)
    return pa.ListArray.from_arrays(offsets, flat, mask=pa.array(failed))
