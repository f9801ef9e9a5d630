"""A dataset's files as its source: Parquet and CSV, also compressed, named one by one or by their folder.

A second pull takes the lines that were appended to a CSV file and the files that are new; a file that was changed otherwise is
taken anew, and one that is gone takes its rows with it. What is new is decided by digests of content, not by names or times.

A file that is missing, empty, truncated or of another kind is the user's mistake: one InvalidInput that names it and says
what to do. A file with a line of names and no rows is whole: it has no rows.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import hashlib
import io
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl

from tidegate.data.dataset import Csv
from tidegate.domain.errors import InvalidInput
from tidegate.ports.dataset_source import Cursor, Pulled, SourceCapabilities, SourceRows

PARQUET, TEXT = (".parquet", ".pq"), (".csv", ".tsv", ".csv.gz", ".tsv.gz")
SUFFIXES = PARQUET + TEXT
ALLOWED = ".parquet and .csv (also .pq, .tsv and either with .gz)"
# Encodings in which a line ends with the byte 10 and nothing else does, so that what is appended can be read by itself.
BYTEWISE = {"utf-8", "ascii", "iso8859-1", "iso8859-15", "cp1252", "cp1250", "cp1251"}
DELIMITERS = (";", "\t", "|", ",")
MARKS = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


@dataclass(frozen=True)
class Taken:
    """What has been taken of one file: bytes, their digest, and the number of its last row."""

    size: int
    digest: str
    rows: int


class DatasetFiles:
    """The files at `paths`, in that order; of a folder those below it with a name of SUFFIXES, by name."""

    capabilities = SourceCapabilities(rereads=True)

    def __init__(self, paths: Sequence[Path], csv: Csv | None = None) -> None:
        self._paths, self._csv = tuple(paths), csv or Csv()

    def pull(self, cursor: Cursor | None) -> Pulled:
        earlier = {name: Taken(**value) for name, value in (cursor or {}).get("files", {}).items()}
        rows: list[SourceRows] = []
        taken: dict[str, Taken] = {}
        replaced = set()
        for name, path in self._files().items():
            content = _content(path)
            digest = hashlib.sha256(content).hexdigest()
            before = earlier.get(name)
            if before and (before.size, before.digest) == (len(content), digest):
                taken[name] = before
                continue
            first, part = 0, content
            if before and (added := self._appended(path, content, before)):
                first, part = before.rows, added
            elif before:
                replaced.add(name)
            raw, numbers = _read(path, part, self._csv)
            last = int(numbers[-1]) if len(numbers) else 0
            rows.append(SourceRows(name, raw, numbers + first))
            taken[name] = Taken(len(content), digest, first + last)
        files = {name: asdict(each) for name, each in taken.items()}
        return Pulled(tuple(rows), {"files": files}, {n: each.digest for n, each in taken.items()}, frozenset(replaced))

    def _files(self) -> dict[str, Path]:
        found: list[tuple[str, Path]] = []
        for path in self._paths:
            if path.is_dir():
                inside = [p for p in sorted(path.rglob("*")) if p.is_file() and p.name.lower().endswith(SUFFIXES)]
                seen = [p for p in inside if not any(part.startswith(".") for part in p.relative_to(path).parts)]
                if not seen:
                    raise InvalidInput(f"source folder {path} has no file whose name ends with {ALLOWED}")
                found += [(p.relative_to(path).as_posix(), p) for p in seen]
            else:
                found.append((path.name, path))
        names = [name for name, _ in found]
        if not names:
            raise InvalidInput("no source files; name at least one under 'sources'")
        if twice := [name for name in names if names.count(name) > 1]:
            raise InvalidInput(f"two source files have the same name ({twice[0]}); rename one")
        return dict(found)

    def _appended(self, path: Path, content: bytes, before: Taken) -> bytes | None:
        """The header and the lines that came after what was taken; None unless that is all that changed."""
        if not path.name.lower().endswith((".csv", ".tsv")) or _codec(path, self._csv) not in BYTEWISE:
            return None
        head, rest = content[: before.size], content[before.size :]
        whole_lines = head.endswith(b"\n") and head.count(self._csv.quote.encode()) % 2 == 0
        if not rest or not whole_lines or hashlib.sha256(head).hexdigest() != before.digest:
            return None
        return rest if self._csv.header else head[: head.index(b"\n") + 1] + rest


def _content(path: Path) -> bytes:
    if not path.name.lower().endswith(SUFFIXES):
        raise InvalidInput(f"source file {path}: its name ends with '{path.suffix}', allowed are {ALLOWED}")
    if not path.is_file():
        raise InvalidInput(f"source file {path} does not exist; name an existing file under 'sources'")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"source file {path} cannot be read ({error.strerror}); fix its permissions") from error
    if not content:
        raise InvalidInput(f"source file {path}: it is empty (0 bytes); remove it or fetch it again")
    return content


def _read(path: Path, content: bytes, how: Csv) -> tuple[pl.DataFrame, pl.Series]:
    """The rows in `content` and their numbers from 1; raises InvalidInput."""
    what = f"source file {path}"
    if path.name.lower().endswith(PARQUET):
        raw = _parquet(what, content)
    else:
        raw = _delimited(what, path, _unpacked(what, path, content), how)
    return raw, pl.Series("number", range(1, len(raw) + 1), dtype=pl.Int64)


def _parquet(what: str, content: bytes) -> pl.DataFrame:
    if content[:4] != b"PAR1":
        raise InvalidInput(f"{what}: it is not Parquet (it does not start with PAR1); give a Parquet or CSV file")
    if content[-4:] != b"PAR1":
        raise InvalidInput(f"{what}: it is truncated (a Parquet file ends with PAR1); fetch the whole file again")
    try:
        return pl.read_parquet(io.BytesIO(content))
    # A damaged file can make the reader panic, which is a BaseException of its own.
    except (Exception, pl.exceptions.PanicException) as error:
        reason = " ".join(str(error).split())[:160]
        raise InvalidInput(f"{what}: it cannot be read as Parquet ({reason}); fetch the whole file again") from error


def _unpacked(what: str, path: Path, content: bytes) -> bytes:
    if not path.name.lower().endswith(".gz"):
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise InvalidInput(f"{what}: it is no whole gzip file ({error}); fetch the whole file again") from error


def _codec(path: Path, how: Csv) -> str:
    try:
        return codecs.lookup("utf-8" if how.encoding.lower().replace("_", "-") == "utf-8-sig" else how.encoding).name
    except LookupError as error:
        raise InvalidInput(f"source file {path}: encoding '{how.encoding}' is not known; name one as 'cp1252'") from error


def _decoded(what: str, path: Path, content: bytes, how: Csv) -> str:
    """The text, without the mark of UTF-8 that may stand before it."""
    codec = _codec(path, how)
    if codec == "utf-8":
        content = content.removeprefix(codecs.BOM_UTF8)
        mark = next((name for mark, name in MARKS.items() if content.startswith(mark)), None)
        if mark:
            raise InvalidInput(f"{what}: it is in {mark.upper()}; name it in the definition: csv=Csv(encoding='{mark}')")
    try:
        text = content.decode(codec)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InvalidInput(
            f"{what}: it is not in {how.encoding}: byte 0x{content[error.start]:02x} in line {line}; name its encoding in the "
            "definition, often csv=Csv(encoding='cp1252')"
        ) from error
    if "\0" in text:
        raise InvalidInput(f"{what}: it is no text (a zero byte in line {text.count(chr(10), 0, text.index(chr(0))) + 1})")
    return text


def _delimited(what: str, path: Path, content: bytes, how: Csv) -> pl.DataFrame:
    text = _decoded(what, path, content, how)
    if not text.strip():
        raise InvalidInput(f"{what}: it has no line of names; give a file with one, or name them: csv=Csv(header=(...))")
    _refuse_other_delimiter(what, text, how)
    try:
        raw = pl.read_csv(
            text.encode(),
            infer_schema=False,
            separator=how.delimiter,
            quote_char=how.quote or None,
            has_header=not how.header,
            new_columns=list(how.header) or None,
        )
    except (Exception, pl.exceptions.PanicException):
        return _line_by_line(what, text, how)  # slower, and it knows quotes within a text, and which line is wrong
    return _without_blank_lines(raw, text, how)


def _refuse_other_delimiter(what: str, text: str, how: Csv) -> None:
    first = text.lstrip().partition("\n")[0]
    if len(how.header) == 1 or how.delimiter in first:
        return
    other = max((each for each in DELIMITERS if each in first), key=first.count, default=None)
    if other and first.count(other) == text.strip().rpartition("\n")[2].count(other):
        comma = " and, where numbers are written 2,95, decimal=','" if other == ";" else ""
        raise InvalidInput(
            f"{what}: its fields are divided by {other!r}, not by {how.delimiter!r}; name it in the definition: "
            f"csv=Csv(delimiter={other!r}){comma}"
        )


def _line_by_line(what: str, text: str, how: Csv) -> pl.DataFrame:
    lines = csv.reader(io.StringIO(text), delimiter=how.delimiter, strict=True, **_quoting(how))
    rows: list[list[str | None]] = []
    names = list(how.header)
    try:
        for fields in lines:
            if not names:
                names = fields
            elif len(fields) > len(names):
                found = f"line {lines.line_num} has {len(fields)} fields, there are {len(names)} names; put texts in quotes"
                raise InvalidInput(f"{what}: it cannot be read as CSV with fields divided by {how.delimiter!r}: {found}")
            elif fields:
                rows.append([field or None for field in fields] + [None] * (len(names) - len(fields)))
    except csv.Error as error:
        raise InvalidInput(
            f"{what}: it cannot be read as CSV with fields divided by {how.delimiter!r}: line {lines.line_num}: {error}; where "
            "quotes are a part of texts, say so in the definition: csv=Csv(quote='')"
        ) from error
    if len(set(names)) < len(names):
        raise InvalidInput(f"{what}: two columns have one name; rename one")
    return pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String), orient="row")


def _quoting(how: Csv) -> dict[str, Any]:
    return {"quotechar": how.quote} if how.quote else {"quoting": csv.QUOTE_NONE}


def _without_blank_lines(raw: pl.DataFrame, text: str, how: Csv) -> pl.DataFrame:
    """A line without anything is no row; a line of delimiters alone is one."""
    if raw.is_empty() or 0 in raw.null_count().row(0):
        return raw
    lines = csv.reader(io.StringIO(text), delimiter=how.delimiter, **_quoting(how))
    blank = [not fields for fields in lines][0 if how.header else 1 :]
    return raw.filter(~pl.Series(blank)) if len(blank) == len(raw) else raw
