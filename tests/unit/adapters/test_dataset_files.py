"""Files as people have them: marks, encodings, delimiters, packed or half written; and what is said of others."""

from __future__ import annotations

import csv
import gzip
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.adapters.files.dataset_files import DatasetFiles
from tidegate.data.dataset import Csv
from tidegate.domain.errors import InvalidInput

ROWS = "name,price\nStühle,2.95\nTische,3\n"


def rows(folder: Path, content: bytes, how: Csv | None = None, name: str = "a.csv") -> list[tuple[str | None, ...]]:
    (folder / name).write_bytes(content)
    (pulled,) = DatasetFiles([folder / name], how).pull(None).rows
    assert pulled.numbers.to_list() == list(range(1, len(pulled.raw) + 1))
    return pulled.raw.rows()


WANTED = [("Stühle", "2.95"), ("Tische", "3")]


@pytest.mark.parametrize(
    ("content", "how"),
    [
        (ROWS.encode(), None),
        (ROWS.encode("utf-8-sig"), None),
        (ROWS.encode("utf-8-sig"), Csv(encoding="utf-8-sig")),
        (ROWS.encode("cp1252"), Csv(encoding="cp1252")),
        (ROWS.encode("utf-16"), Csv(encoding="utf-16")),
        (ROWS.replace("\n", "\r\n").encode(), None),
        (ROWS.replace(",", ";").encode(), Csv(delimiter=";")),
        (ROWS.replace(",", "\t").encode(), Csv(delimiter="\t")),
        (ROWS.partition("\n")[2].encode(), Csv(header=("name", "price"))),
        (ROWS.replace("Stühle", '"Stühle"').encode(), None),
        (ROWS.rstrip().encode(), None),
        (ROWS.replace("\nT", "\n\n\nT").encode() + b"\n\n", None),
    ],
)
def test_files_are_read_as_they_are_said_to_be_written(tmp_path: Path, content: bytes, how: Csv | None) -> None:
    assert rows(tmp_path, content, how) == WANTED


def test_packed_files_and_tables_by_tabs_are_read(tmp_path: Path) -> None:
    assert rows(tmp_path, gzip.compress(ROWS.encode(), mtime=0), name="a.csv.gz") == WANTED
    assert rows(tmp_path, ROWS.replace(",", "\t").encode(), Csv(delimiter="\t"), name="a.tsv") == WANTED


def test_a_line_of_delimiters_is_a_row_and_a_quoted_line_end_is_not_one(tmp_path: Path) -> None:
    assert rows(tmp_path, b'a,b\n1,2\n,\n\n"x\n\ny",3\n') == [("1", "2"), (None, None), ("x\n\ny", "3")]


def test_quotes_within_texts_are_a_part_of_them(tmp_path: Path) -> None:
    assert rows(tmp_path, b'a,b\n6" RULER,1\n\n12" RULER,2\nPEN\n"A ""B""",3\n') == [
        ('6" RULER', "1"),
        ('12" RULER', "2"),
        ("PEN", None),
        ('A "B"', "3"),
    ]
    assert rows(tmp_path, b'a,b\n"A,1\n"B",2\n', Csv(quote="")) == [('"A', "1"), ('"B"', "2")]
    many = b"a,b\n" + b"".join(b'item %d" long,%d\n' % (i, i) for i in range(30_000))
    assert len(rows(tmp_path, many)) == 30_000


CELLS = st.text(st.sampled_from("ab1 ,;\"\n'äß\t😀"), max_size=6)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(CELLS, CELLS, CELLS), max_size=8), st.sampled_from([",", ";", "\t"]), st.sampled_from(["\n", "\r\n"]))
def test_every_row_that_was_written_is_read_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, written: list[tuple[str, str, str]], delimiter: str, end: str
) -> None:
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator=end).writerows([("a", "b", "c"), *written])
    found = rows(tmp_path_factory.mktemp("csv"), text.getvalue().encode(), Csv(delimiter=delimiter))
    assert [tuple(cell or "" for cell in row) for row in found] == written


def test_a_file_of_names_alone_has_no_rows(tmp_path: Path) -> None:
    assert rows(tmp_path, b"name,price\n") == []
    assert rows(tmp_path, b"name,price") == []


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.csv", b"", r"it is empty \(0 bytes\)"),
        ("a.csv", b"\n \n", "it has no line of names"),
        ("a.csv.gz", gzip.compress(b"", mtime=0), "it has no line of names"),
        ("a.csv.gz", gzip.compress(ROWS.encode(), mtime=0)[:-9], "it is no whole gzip file"),
        ("a.csv.gz", ROWS.encode(), "it is no whole gzip file"),
        (
            "a.csv",
            ROWS.replace(",", ";").encode(),
            r"its fields are divided by ';', not by ','.*Csv\(delimiter=';'\).*decimal=','",
        ),
        ("a.csv", ROWS.replace(",", "\t").encode(), r"divided by '\\t'"),
        ("a.csv", ROWS.encode("cp1252"), r"it is not in utf-8: byte 0xfc in line 2; .*encoding='cp1252'"),
        ("a.csv", ROWS.encode("utf-16"), r"it is in UTF-16; .*encoding='utf-16'"),
        ("a.csv", b"a,b\n1,2\n1,2,3\n", "line 3 has 3 fields, there are 2 names"),
        ("a.csv", b"a,b\n1,\x002\n", "it is no text"),
        ("a.csv", b'a,b\n"x,1\ny,2\n', r"line 3: unexpected end of data; .*Csv\(quote=''\)"),
        ("a.csv", b'a,b\n"x" y,1\n', r"line 2: ',' expected after '\"'"),
        ("a.xlsx", b"PK", "its name ends with '.xlsx', allowed are .parquet and .csv"),
        ("a.pq", b"PAR1 half", "it is truncated"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_sentence_that_says_what_to_do(
    tmp_path: Path, name: str, content: bytes, says: str
) -> None:
    with pytest.raises(InvalidInput, match=says) as caught:
        rows(tmp_path, content, name=name)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_gives_its_files_by_name_and_without_any_it_is_refused(tmp_path: Path) -> None:
    for name in ("2012/b.csv", "2011/a.csv", ".hidden/c.csv", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x\n1\n")
    assert list(DatasetFiles([tmp_path]).pull(None).parts) == ["2011/a.csv", "2012/b.csv"]
    with pytest.raises(InvalidInput, match="has no file whose name ends with"):
        DatasetFiles([_empty(tmp_path)]).pull(None)
    (tmp_path / "2011/b.csv").write_text("x\n1\n")
    with pytest.raises(InvalidInput, match="two source files have the same name"):
        DatasetFiles([tmp_path / "2011/b.csv", tmp_path / "2012/b.csv"]).pull(None)


def _empty(folder: Path) -> Path:
    (folder / "empty").mkdir()
    return folder / "empty"


@pytest.mark.parametrize(
    ("first", "appended"),
    [
        ("a,b\np,0\n", "x,1\n"),
        ("a,b\np,0\n", "x,1"),
        ("a,b\np,0\n", '"x\ny",1\n'),
        ("a,b\np,0\n\n", "x,1\n\n\ny,2\n"),
        ("a,b\np,1", "0\nx,1\n"),
        ("a,b\np,0", "\nx,1\n"),
        ("a,b\n", "x,1\n"),
        ('a,b\n"p ""q""",0\n', "x,1\n"),
    ],
)
def test_what_was_appended_continues_where_the_file_ended(tmp_path: Path, first: str, appended: str) -> None:
    """Also in the midst of a line: then the whole file is taken again."""
    path = tmp_path / "a.csv"
    path.write_text(first)
    earlier = DatasetFiles([path]).pull(None)
    path.write_text(first + appended)
    pulled = DatasetFiles([path]).pull(earlier.cursor)
    kept = [] if pulled.replaced else earlier.rows[0].raw.rows()
    (whole,) = DatasetFiles([path]).pull(None).rows
    assert kept + pulled.rows[0].raw.rows() == whole.raw.rows()
    assert pulled.rows[0].numbers.to_list()[-1] == len(whole.raw)
