"""What the rows of a dataset are, said once: a Python file of the project defines `DATASET = Dataset(...)`.

    columns    the columns that are wanted, by the names they get here: where they stand in the source, and their types
    time       the column that says when a row was; the point-in-time check and `until` cut by it
    identity   rows are the same row, within a file or between several, when all of these columns are equal
    rules      which rows are refused, and why
    split      the classes that rows fall into; without it all are of one class, `rows`

Nothing is guessed: a value that can be read in two ways (03/04/2011, 1.234) is no value until the definition says how it is
written. Rows that are refused are kept with a reason (quarantine), so that every row of a source is accounted for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Literal

import polars as pl

from tidegate.domain.errors import InvalidInput
from tidegate.files.source_code import Sources

Kind = Literal["identifier", "text", "category", "integer", "number", "boolean", "timestamp", "date", "bytes"]
Split = Callable[[pl.DataFrame], Mapping[str, pl.DataFrame]]

ROWS = "rows"  # the class of a dataset that is not split
QUARANTINE = "quarantine"
SOURCE, SOURCE_ROW, ORIGINAL, ROW = "source", "source_row", "original", "row"
MAX_GAP = timedelta(days=5 * 366)
EARLIER = (
    "; the DEFINITION = IngestDefinition(...) of earlier versions is a DATASET = Dataset(...) with a split() of its own: "
    "docs/datasets.md"
)


@dataclass(frozen=True)
class Column:
    """A column of the source: its names there (the first that is found counts), the kind of its values, may it be empty.

    kind      identifier  text that some files store as a number: 13085.0 is '13085'
              text        as it is
              category    text of a few values; `values` names those allowed, if given
              integer     whole numbers, also where they are written 6.0
              number      numbers, with `decimal` and `thousands` where they are not written 1234.5
              boolean     true and false, 1 and 0, and the texts that `true` and `false` name
              timestamp   a date and time; ISO 8601 or as one of `formats`; without an offset it is on the wall clock of `zone`
              date        a day; ISO 8601 or as one of `formats`
      bytes       as they are, such as an image's; from Parquet alone
    empty     texts that stand for nothing
    formats   how dates or times are written, as strftime has it: '%d/%m/%Y'; 'epoch s' and 'epoch ms' count from 1970. Of
              several, a value must have one meaning
    invalid   what becomes of a row with a cell that is none of these: 'quarantine', or 'null' for no value. Without it the row
              goes to the quarantine, and a file in which most cells of the column are so is refused: it is written otherwise
    """

    names: tuple[str, ...]
    kind: Kind
    nullable: bool = False
    empty: tuple[str, ...] = ("",)
    formats: tuple[str, ...] = ()
    zone: str = "UTC"
    decimal: str | None = None  # by default that of the dataset's Csv
    thousands: str = ""
    values: tuple[str, ...] = ()
    true: tuple[str, ...] = ()
    false: tuple[str, ...] = ()
    invalid: Literal["quarantine", "null"] | None = None


@dataclass(frozen=True)
class Csv:
    """How the dataset's CSV files are written; `header` names the columns of files that have no line of names."""

    delimiter: str = ","
    encoding: str = "utf-8"
    decimal: str = "."
    quote: str = '"'
    header: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rule:
    """Rows for which `when` is true go to the quarantine; of several rules the first one names the `reason`."""

    reason: str
    when: pl.Expr
    why: str


@dataclass(frozen=True)
class Dataset:
    """What the rows of a dataset are; see the module.

    `normalize` rewrites columns or adds some, before rules and identity are looked at; it may use `source`, the file's name.
    `split(rows) -> {class: rows}` gets the rows that are not refused, with `row` (their number), and puts each into exactly one
    class; it may change values, and the order it gives is kept. Without it rows are in the order of `time`.

    `max_gap` says how far time may jump: of rows that lie in stretches farther apart than that, those outside the stretch of
    most rows are refused as 'time_gap'. `grain` is what `until` is rounded up to when nobody names it: for daily features a
    day, by default as close after the newest row as can be.
    """

    name: str
    columns: Mapping[str, Column]
    time: str | None = None
    identity: tuple[str, ...] = ()
    rules: tuple[Rule, ...] = ()
    normalize: Mapping[str, pl.Expr] = field(default_factory=dict)
    split: Split | None = None
    max_gap: timedelta = MAX_GAP
    grain: timedelta | None = None
    csv: Csv = Csv()
    digest: str = ""  # of the definition's code, set by `load_dataset`

    def __post_init__(self) -> None:
        what = f"dataset '{self.name}'"
        known = [*self.columns, *self.normalize, SOURCE]
        if not self.columns:
            raise InvalidInput(f"{what} has no columns; name at least one")
        if taken := sorted(
            {SOURCE, SOURCE_ROW, ORIGINAL, ROW, "reason", "invalid"}.intersection([*self.columns, *self.normalize])
        ):
            raise InvalidInput(f"{what}: '{taken[0]}' is a name of the engine's own; name the column otherwise")
        if unknown := [name for name in self.identity if name not in known]:
            raise InvalidInput(f"{what}: identity names '{unknown[0]}', which is no column; columns are {', '.join(known)}")
        if self.time is not None:
            if self.time not in known:
                raise InvalidInput(f"{what}: time is '{self.time}', which is no column; columns are {', '.join(known)}")
            column = self.columns.get(self.time)
            if column and (column.kind not in ("timestamp", "date") or column.nullable):
                raise InvalidInput(f"{what}: time is '{self.time}', required a timestamp or date that is not nullable")
        if self.max_gap <= timedelta(0) or (self.grain is not None and self.grain <= timedelta(0)):
            raise InvalidInput(f"{what}: max_gap and grain must be longer than nothing")


def load_dataset(path: Path) -> Dataset:
    """The `DATASET` of a Python file, with the digest of its code and of what it imports beside it; raises InvalidInput."""
    if not path.is_file():
        raise InvalidInput(f"dataset definition {path} does not exist; name an existing Python file under 'definition'")
    if path.suffix != ".py":
        raise InvalidInput(f"dataset definition {path} is not a Python file; its name must end with .py")
    sources = Sources.beside(path)
    try:
        module = sources.module(path.name)
    except InvalidInput as error:
        raise InvalidInput(f"dataset definition {path}: {error}") from error
    except Exception as error:
        hint = EARLIER if "IngestDefinition" in str(error) else ""
        raise InvalidInput(f"dataset definition {path} cannot be loaded: {type(error).__name__}: {error}{hint}") from error
    dataset = getattr(module, "DATASET", None)
    if not isinstance(dataset, Dataset):
        hint = EARLIER if hasattr(module, "DEFINITION") else "; see docs/datasets.md"
        raise InvalidInput(f"dataset definition {path} defines no DATASET = Dataset(...){hint}")
    return replace(dataset, digest=sources.loaded_digest)
