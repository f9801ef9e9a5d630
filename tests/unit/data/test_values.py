"""Cells become values of their column's kind, or are invalid: what can be read in two ways is asked for, never guessed."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.data.dataset import Column, Csv, Dataset
from tidegate.data.values import typed
from tidegate.domain.errors import InvalidInput


def read(cells: list[Any] | pl.Series, kind: str, csv: Csv | None = None, **more: Any) -> tuple[list[Any], list[bool]]:
    raw = pl.DataFrame([pl.Series("V", cells)])
    column = Column(("V",), kind, nullable=True, **{"invalid": "quarantine", **more})  # type: ignore[arg-type]
    found = typed("file x", raw, Dataset("x", {"v": column}, csv=csv or Csv()))
    return found.columns["v"].to_list(), found.invalid["v"].to_list()


@pytest.mark.parametrize(
    ("kind", "given", "wanted", "more"),
    [
        ("identifier", ["13085.0", " 85123A "], ["13085", "85123A"], {}),
        ("identifier", [13085.0, float("nan"), 7.5], ["13085", None, None], {}),
        ("text", ["  as it is ", ""], ["  as it is ", None], {}),
        ("category", ["Air", "Boat", "N/A"], ["Air", None, None], {"values": ("Air",), "empty": ("N/A",)}),
        ("category", [3, 4], ["3", "4"], {}),
        ("integer", ["6", "6.0", "6.5", "-3", "1e3"], [6, 6, None, -3, 1000], {}),
        ("integer", [6.0, None, 6.5], [6, None, None], {}),
        ("integer", ["9007199254740993"], [9007199254740993], {}),
        ("number", ["2.95", "2,95", "inf", "nan", "1e-3"], [2.95, None, None, None, 0.001], {}),
        ("number", ["2,95", "2.95", "1.234,5"], [2.95, None, None], {"decimal": ","}),
        (
            "number",
            ["1.234,5", "1.234", "2,95", "12.34", "1.2345"],
            [1234.5, 1234, 2.95, None, None],
            {"decimal": ",", "thousands": "."},
        ),
        ("number", ["See DN-304 (ID#:10589)", "13"], [None, 13.0], {}),
        ("boolean", ["true", "FALSE", "1", "0", "yes"], [True, False, True, False, None], {}),
        ("boolean", ["Y", "N", "true"], [True, False, None], {"true": ("Y",), "false": ("N",)}),
        ("boolean", [1, 0, 2], [True, False, None], {}),
        ("date", ["2011-09-01", "01/09/2011", "11-09-01"], [date(2011, 9, 1), None, None], {}),
        ("date", ["02-Jun-06", "2-JUN-06", "06/02/06"], [date(2006, 6, 2), date(2006, 6, 2), None], {"formats": ("%d-%b-%y",)}),
        (
            "date",
            ["03/04/2011", "13/04/2011", "03/13/2011", "05/05/2011"],
            [None, date(2011, 4, 13), date(2011, 3, 13), date(2011, 5, 5)],
            {"formats": ("%d/%m/%Y", "%m/%d/%Y")},
        ),
        ("date", [datetime(2011, 9, 1), datetime(2011, 9, 1, 8)], [date(2011, 9, 1), None], {}),
        ("timestamp", ["11-12-02 10:02:00", "2011-12-02 10:02:00"], [None, datetime(2011, 12, 2, 10, 2, tzinfo=UTC)], {}),
        (
            "timestamp",
            ["2011-12-02T10:02:00+01:00", "2011-12-02 10:02"],
            [datetime(2011, 12, 2, 9, 2, tzinfo=UTC), datetime(2011, 12, 2, 10, 2, tzinfo=UTC)],
            {},
        ),
        (
            "timestamp",
            ["2011-07-01 10:00:00", "2011-03-27 02:30:00", "2011-10-30 02:30:00"],
            [datetime(2011, 7, 1, 8, tzinfo=UTC), None, None],
            {"zone": "Europe/Paris"},
        ),
        ("timestamp", [1322820120], [datetime(2011, 12, 2, 10, 2, tzinfo=UTC)], {"formats": ("epoch s",)}),
        ("timestamp", ["1322820120500"], [datetime(2011, 12, 2, 10, 2, 0, 500000, tzinfo=UTC)], {"formats": ("epoch ms",)}),
    ],
)
def test_cells_are_converted_or_invalid(kind: str, given: list[Any], wanted: list[Any], more: dict[str, Any]) -> None:
    values, invalid = read(given, kind, **more)
    assert values == wanted
    empty = more.get("empty", ("",))
    there = [v is not None and v == v and v not in empty for v in given]
    assert invalid == [value is None and is_there for value, is_there in zip(wanted, there, strict=True)]


@pytest.mark.parametrize(
    ("kind", "given", "says"),
    [
        ("date", ["03/04/2011", "2011-04-03", "05/04/2011"], r"'03/04/2011' in row 1.*formats=.*can be read in two ways"),
        ("timestamp", ["03/04/2011 09:00"], r"name how it is written in the definition, as formats="),
        ("number", ["2,95"], r"'2,95' in row 1, required: numbers;.*decimal=','"),
        ("boolean", ["Y", "N"], r"true=\('Y',\)"),
        ("integer", ["1", "many", "more"], r"'many' in row 2, required: whole numbers \(2 such rows\)"),
        ("integer", [[1, 2]], r"is of type List\(Int64\), required: whole numbers"),
    ],
)
def test_a_column_that_is_written_otherwise_is_asked_for(kind: str, given: list[Any], says: str) -> None:
    with pytest.raises(InvalidInput, match=says) as caught:
        read(given, kind, invalid=None)
    assert "file x: column 'V'" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_column_of_which_a_few_cells_are_wrong_keeps_the_others() -> None:
    assert read(["1", "2", "many"], "integer", invalid=None) == ([1, 2, None], [False, False, True])


def test_cells_that_are_to_be_null_are_not_invalid() -> None:
    assert read(["see below"] * 3 + ["4.5"], "number", invalid="null") == ([None] * 3 + [4.5], [False] * 4)


def test_the_files_own_decimal_is_the_default_and_a_columns_own_counts_more() -> None:
    german = Csv(decimal=",")
    assert read(["2,95"], "number", german)[0] == [2.95]
    assert read(["2.95"], "number", german, decimal=".")[0] == [2.95]


@given(st.decimals(min_value=-9999, max_value=9999, places=2).map(float))
def test_a_number_of_single_precision_is_the_number_that_was_written(price: float) -> None:
    narrow, _ = read(pl.Series([price], dtype=pl.Float32), "number")
    wide, _ = read(pl.Series([price], dtype=pl.Float64), "number")
    assert narrow == wide == [price]


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_times_of_any_unit_and_zone_are_the_same_moment(unit: Any) -> None:
    moment = datetime(2011, 12, 2, 10, 2, tzinfo=UTC)
    plain = pl.Series([moment.replace(tzinfo=None)], dtype=pl.Datetime(unit))
    for values in (
        plain,
        plain.dt.replace_time_zone("UTC"),
        plain.dt.replace_time_zone("UTC").dt.convert_time_zone("Asia/Tokyo"),
    ):
        assert read(values, "timestamp") == ([moment], [False])


def test_categories_of_parquet_are_texts_and_a_wrong_format_is_one_sentence() -> None:
    assert read(pl.Series(["a", "b"], dtype=pl.Categorical), "category")[0] == ["a", "b"]
    with pytest.raises(InvalidInput, match="zone 'Mars/Base' of a timestamp is not known"):
        read(["2011-09-01 10:00:00"], "timestamp", zone="Mars/Base")


def test_bytes_are_taken_as_they_are_and_out_of_the_records_that_tables_of_images_have() -> None:
    assert read(pl.Series([b"png", None]), "bytes") == ([b"png", None], [False, False])
    records = [{"bytes": b"png", "path": "1.png"}, {"bytes": None, "path": "2.png"}]
    assert read(pl.Series(records), "bytes")[0] == [b"png", None]
    with pytest.raises(InvalidInput, match="required: bytes, as of an image"):
        read(["png"], "bytes")
