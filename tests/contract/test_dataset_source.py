"""What a source of a dataset promises: pulled in pieces it gives what one pull gives, and the same row never twice."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from fakes.dataset_source import MemorySource
from tidegate.adapters.files.dataset_files import DatasetFiles
from tidegate.ports.dataset_source import Cursor, DatasetSource, Pulled

Parts = Mapping[str, list[dict[str, Any]]]
JUNE = [{"key": f"k{i}", "value": str(i)} for i in range(4)]
JULY = [{"key": f"k{i}", "value": str(i)} for i in range(4, 7)]


@dataclass(frozen=True)
class Kind:
    """`make(parts)` gives the source as it is once it has these parts."""

    make: Callable[[Parts], DatasetSource]


@pytest.fixture(params=["memory", "csv", "csv.gz", "parquet", "folder"])
def kind(request: pytest.FixtureRequest, tmp_path: Path) -> Kind:
    if request.param == "memory":
        return Kind(lambda parts: MemorySource({name: list(rows) for name, rows in parts.items()}))
    suffix = "csv" if request.param == "folder" else request.param

    def files(parts: Parts) -> DatasetSource:
        for path in tmp_path.glob("data/*"):
            path.unlink()
        (tmp_path / "data").mkdir(exist_ok=True)
        paths = [write(tmp_path / f"data/{name}.{suffix}", rows) for name, rows in parts.items()]
        return DatasetFiles([tmp_path / "data"] if request.param == "folder" else paths)

    return Kind(files)


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    frame = pl.DataFrame(rows, schema={"key": pl.String, "value": pl.String})
    if path.suffix == ".parquet":
        frame.write_parquet(path)
    elif path.suffix == ".gz":
        import gzip

        path.write_bytes(gzip.compress(frame.write_csv().encode(), mtime=0))
    else:
        frame.write_csv(path)
    return path


class Taker:
    """Takes what a source gives, as whoever uses the port does."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[int, tuple[Any, ...]]] = {}
        self.cursor: Cursor | None = None

    def take(self, source: DatasetSource) -> Pulled:
        pulled = source.pull(self.cursor)
        self.cursor = json.loads(json.dumps(pulled.cursor))  # it is kept as JSON
        self.rows = {p: rows for p, rows in self.rows.items() if p in pulled.parts and p not in pulled.replaced}
        for part in pulled.rows:
            mine = self.rows.setdefault(part.part, {})
            numbers = part.numbers.to_list()
            assert not set(numbers) & set(mine), "a row came twice"
            mine.update(zip(numbers, part.raw.rows(), strict=True))
        return pulled

    def found(self) -> list[list[tuple[Any, ...]]]:
        return [[row for _, row in sorted(rows.items())] for rows in self.rows.values()]


def rows_of(parts: Parts) -> list[list[tuple[Any, ...]]]:
    return [[tuple(row.values()) for row in rows] for rows in parts.values()]


def test_a_pull_gives_every_row_once_numbered_from_one(kind: Kind) -> None:
    parts = {"june": JUNE, "july": JULY}
    taker = Taker()
    taker.take(kind.make(parts))
    assert sorted(taker.found()) == sorted(rows_of(parts))
    assert all(list(rows) == list(range(1, len(rows) + 1)) for rows in taker.rows.values())


def test_a_second_pull_of_the_same_gives_nothing(kind: Kind) -> None:
    source = kind.make({"june": JUNE})
    taker = Taker()
    first = taker.take(source)
    again = taker.take(source)
    assert (again.rows, again.replaced) == ((), frozenset())
    assert (again.cursor, again.parts) == (first.cursor, first.parts)


@pytest.mark.parametrize(
    "then",
    [
        {"june": JUNE, "july": JULY},
        {"june": JUNE + JULY},
        {"june": JULY},
        {"july": JULY},
        {"june": JUNE[:2]},
        {"june": JUNE[1:] + JULY},
    ],
    ids=["new part", "appended", "changed", "gone", "shortened", "shifted"],
)
def test_pulled_in_pieces_it_is_what_one_pull_gives(kind: Kind, then: Parts) -> None:
    taker, once = Taker(), Taker()
    taker.take(kind.make({"june": JUNE}))
    whole = kind.make(then)
    pulled = taker.take(whole)
    once.take(whole)
    assert taker.rows == once.rows
    assert pulled.parts == once.take(whole).parts


def test_what_was_appended_is_all_that_a_second_pull_gives(kind: Kind, request: pytest.FixtureRequest) -> None:
    """Of a file that is packed as a whole, the whole is taken again."""
    packed = "parquet" in request.node.name or "gz" in request.node.name
    taker = Taker()
    taker.take(kind.make({"june": JUNE}))
    pulled = taker.take(kind.make({"june": JUNE + JULY}))
    assert [len(part.raw) for part in pulled.rows] == [len(JUNE + JULY) if packed else len(JULY)]
    assert bool(pulled.replaced) == packed


def test_a_part_without_rows_is_a_part(kind: Kind) -> None:
    taker = Taker()
    pulled = taker.take(kind.make({"june": JUNE, "july": []}))
    assert len(pulled.parts) == 2
    assert [rows for rows in taker.found() if rows] == rows_of({"june": JUNE})
