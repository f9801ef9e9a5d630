"""Datasets of any kind: classes that add up, jumps in time kept aside, the same row whatever its width, and pulls in pieces."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes.dataset_source import MemorySource
from tidegate.adapters.files.dataset_files import DatasetFiles
from tidegate.data.dataset import Column, Dataset, Rule, load_dataset
from tidegate.data.ingest import ingest
from tidegate.data.report import load_report
from tidegate.domain.errors import InvalidInput

START = datetime(2024, 1, 1)
DAY = timedelta(days=1)
READINGS = Dataset(
    "readings",
    {
        "sensor": Column(("sensor",), "identifier"),
        "at": Column(("at",), "timestamp"),
        "value": Column(("value",), "number", nullable=True),
    },
    time="at",
    identity=("sensor", "at", "value"),
    rules=(Rule("too_hot", pl.col("value") > 1000, "no sensor reads more"),),
    max_gap=timedelta(days=30),
    digest="1",
)


def reading(day: float, sensor: str = "a", value: Any = 1.0) -> dict[str, Any]:
    return {"sensor": sensor, "at": f"{START + day * DAY:%Y-%m-%d %H:%M:%S}", "value": None if value is None else str(value)}


def classes(folder: Path) -> dict[str, pl.DataFrame]:
    return {name: pl.read_parquet(folder / f"{name}.parquet") for name in load_report(folder).counts}


def test_a_dataset_without_a_split_has_one_class_in_the_order_of_time(tmp_path: Path) -> None:
    rows = [reading(2), reading(1), reading(1), reading(3, value=2000), reading(0, sensor="")]
    report = ingest(READINGS, MemorySource({"p": rows}), tmp_path / "out")
    assert (report.rows_in, report.counts) == (5, {"rows": 2, "quarantine": 3})
    assert report.reasons == {"duplicate": 1, "missing_sensor": 1, "too_hot": 1}
    assert report.why == {"too_hot": "no sensor reads more"}
    assert (report.first, report.last) == ("2024-01-02T00:00:00+00:00", "2024-01-03T00:00:00+00:00")
    found = classes(tmp_path / "out")["rows"]
    assert found.columns == ["sensor", "at", "value", "source", "source_row"]
    assert found["source_row"].to_list() == [2, 1]


@pytest.mark.parametrize("off", [366, 66 * 365, -2013 * 365, 31])
def test_a_time_that_jumps_farther_than_the_definition_says_is_kept_aside_by_name(tmp_path: Path, off: int) -> None:
    rows = [reading(day) for day in range(60)]
    wrong = {"sensor": "a", "at": f"{START + (59 + off) * DAY:%Y-%m-%d %H:%M:%S}".zfill(19), "value": "1"}
    report = ingest(READINGS, MemorySource({"p": rows, "q": [wrong]}), tmp_path / "out")
    assert report.reasons == {"time_gap": 1}
    assert report.why == {"time_gap": "more than 30 days from the times of most rows"}
    assert report.last == "2024-02-29T00:00:00+00:00"
    assert classes(tmp_path / "out")["quarantine"].row(0, named=True)["source"] == "q"


def test_a_pause_shorter_than_that_is_none_and_data_in_two_halves_are_asked_about(tmp_path: Path) -> None:
    pause = [reading(day) for day in (*range(10), *range(39, 50))]
    assert ingest(READINGS, MemorySource({"p": pause}), tmp_path / "out").reasons == {}
    halves = [reading(day) for day in (*range(10), *range(200, 210))]
    with pytest.raises(InvalidInput, match=r"'at' jumps by more than 30 days between 2 stretches.*max_gap="):
        ingest(READINGS, MemorySource({"p": halves}), tmp_path / "out")


def test_without_a_word_on_gaps_a_year_of_another_age_is_still_kept_aside(tmp_path: Path) -> None:
    dataset = Dataset("readings", READINGS.columns, time="at")
    rows = [reading(day) for day in range(20)]
    rows += [{**reading(0), "at": at} for at in ("2091-01-01 00:00:00", "0011-01-01 00:00:00", "1970-01-01 00:00:00")]
    assert ingest(dataset, MemorySource({"p": rows}), tmp_path / "out").reasons == {"time_gap": 3}


def test_the_same_row_in_another_width_is_the_same_row(tmp_path: Path) -> None:
    prices = [2.55, 1234.5678, 0.1, 99999.99]
    rows = pl.DataFrame({"sensor": [1, 2, 3, 4], "at": [START] * 4, "value": prices})
    rows.write_parquet(tmp_path / "wide.parquet")
    rows.with_columns(
        pl.col("value").cast(pl.Float32), pl.col("sensor").cast(pl.Int16), pl.col("at").cast(pl.Datetime("ms"))
    ).write_parquet(tmp_path / "narrow.parquet")
    for names in (("wide", "narrow"), ("narrow", "wide")):
        files = DatasetFiles([tmp_path / f"{name}.parquet" for name in names])
        report = ingest(replace(READINGS, rules=()), files, tmp_path / "-".join(names))
        assert (report.counts, report.reasons) == ({"rows": 4, "quarantine": 4}, {"overlap": 4})


def test_rows_that_differ_within_single_precision_are_two_rows_of_one_file(tmp_path: Path) -> None:
    rows = pl.DataFrame({"sensor": [1, 1], "at": [START] * 2, "value": [16777216.0 / 1e5, 16777217.0 / 1e5]})
    rows.write_parquet(tmp_path / "wide.parquet")
    report = ingest(READINGS, DatasetFiles([tmp_path / "wide.parquet"]), tmp_path / "out")
    assert report.counts == {"rows": 2, "quarantine": 0}


def split(rows: pl.DataFrame) -> dict[str, pl.DataFrame]:
    return {"odd": rows.filter(pl.col("row") % 2 == 1), "even": rows.filter(pl.col("row") % 2 == 0)}


SPLITS: Mapping[str, tuple[Callable[[pl.DataFrame], Any], str]] = {
    "loses a row": (lambda rows: {"some": rows.head(-1)}, "of 3 rows 1 are in none, 0 in several"),
    "has one twice": (lambda rows: {"some": rows, "more": rows.head(1)}, "of 3 rows 0 are in none, 1 in several"),
    "has no number": (lambda rows: {"some": rows.drop("row")}, "class 'some' lacks 'row'"),
    "has no time": (lambda rows: {"some": rows.drop("at")}, "class 'some' lacks 'at'"),
    "has a name of ours": (lambda rows: {"quarantine": rows}, "has a class 'quarantine'"),
    "is no dict": (lambda rows: rows, "must return a dict"),
    "fails": (lambda rows: rows.select("nothing"), "split\\(\\) failed: ColumnNotFoundError"),
}


@pytest.mark.parametrize("name", SPLITS)
def test_a_split_that_does_not_account_for_each_row_is_refused(tmp_path: Path, name: str) -> None:
    function, says = SPLITS[name]
    with pytest.raises(InvalidInput, match=says):
        ingest(replace(READINGS, split=function), MemorySource({"p": [reading(d) for d in range(3)]}), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_split_may_change_values_and_its_order_is_kept(tmp_path: Path) -> None:
    def backwards(rows: pl.DataFrame) -> dict[str, pl.DataFrame]:
        return {"all": rows.with_columns(pl.col("value") * 2, extra=pl.lit(1)).sort("at", descending=True)}

    ingest(replace(READINGS, split=backwards), MemorySource({"p": [reading(d) for d in range(3)]}), tmp_path / "out")
    found = classes(tmp_path / "out")["all"]
    assert found["value"].to_list() == [2.0] * 3
    assert found["source_row"].to_list() == [3, 2, 1]
    assert "row" not in found.columns


def test_the_time_may_be_made_of_other_columns_and_the_key_of_the_files_name(tmp_path: Path) -> None:
    dataset = Dataset(
        "hours",
        {"day": Column(("day",), "date"), "hour": Column(("hour",), "integer")},
        time="at",
        normalize={
            "at": pl.col("day").cast(pl.Datetime("us")).dt.replace_time_zone("UTC") + pl.duration(hours=pl.col("hour")),
            "station": pl.col("source").str.strip_suffix(".csv"),
        },
        identity=("station", "day", "hour"),
    )
    source = MemorySource(
        {"north.csv": [{"day": "2024-01-01", "hour": "5"}], "south.csv": [{"day": "2024-01-01", "hour": "5"}]}
    )
    assert ingest(dataset, source, tmp_path / "out").counts == {"rows": 2, "quarantine": 0}
    found = classes(tmp_path / "out")["rows"]
    assert found["station"].to_list() == ["north", "south"]
    assert found["at"][0] == datetime(2024, 1, 1, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"columns": {}}, "has no columns"),
        ({"time": "when"}, "time is 'when', which is no column"),
        ({"time": "value"}, "time is 'value', required a timestamp or date"),
        ({"identity": ("id",)}, "identity names 'id', which is no column"),
        ({"max_gap": timedelta(0)}, "max_gap and grain must be longer than nothing"),
        ({"normalize": {"source": pl.lit("x")}}, "'source' is a name of the engine's own"),
    ],
)
def test_a_definition_that_contradicts_itself_is_refused_at_once(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        replace(READINGS, **changes)


def test_expressions_that_cannot_be_computed_are_the_definitions_mistake(tmp_path: Path) -> None:
    wrong = replace(READINGS, rules=(Rule("x", pl.col("nothing") > 1, ""),))
    with pytest.raises(InvalidInput, match="dataset 'readings': normalize or a rule cannot be computed"):
        ingest(wrong, MemorySource({"p": [reading(1)]}), tmp_path / "out")
    with pytest.raises(InvalidInput, match="time 'at' is String after normalize"):
        ingest(replace(READINGS, normalize={"at": pl.lit("x")}), MemorySource({"p": [reading(1)]}), tmp_path / "out")


def test_a_second_pull_takes_what_is_new_and_another_definition_takes_all_again(tmp_path: Path) -> None:
    source = MemorySource({"p": [reading(1)]})
    ingest(READINGS, source, tmp_path / "out")
    source.parts["p"].append(reading(2))
    assert ingest(READINGS, source, tmp_path / "out").counts["rows"] == 2
    assert source.pulls[-1] is not None
    ingest(replace(READINGS, digest="2"), source, tmp_path / "out")
    assert source.pulls[-1] is None
    with pytest.raises(InvalidInput, match="the source gives no row a second time"):
        ingest(replace(READINGS, digest="3"), MemorySource(source.parts, rereads=False), tmp_path / "out")


def test_originals_are_kept_of_rows_of_any_type(tmp_path: Path) -> None:
    raw = pl.DataFrame(
        {
            "sensor": ["", "b"],
            "at": [START, START],
            "value": pl.Series([1.5, float("nan")], dtype=pl.Float32),
            "image": [b"1234", None],
            "pages": [[b"1"], None],
            "picture": [{"bytes": b"12", "path": "x"}, None],
            "kind": pl.Series(["a", "b"], dtype=pl.Categorical),
            "took": [timedelta(seconds=3), None],
            "void": [None, None],
        }
    )
    raw.write_parquet(tmp_path / "a.parquet")
    report = ingest(READINGS, DatasetFiles([tmp_path / "a.parquet"]), tmp_path / "out")
    assert report.reasons == {"missing_sensor": 1}
    original = json.loads(classes(tmp_path / "out")["quarantine"]["original"][0])
    assert (original["value"], original["image"], original["pages"], original["kind"]) == (1.5, "4 bytes", "bytes", "a")


def test_a_pull_of_nothing_new_leaves_the_files_and_a_damaged_file_is_made_anew(tmp_path: Path) -> None:
    source, said = MemorySource({"p": [reading(1), reading(2)]}), list[str]()
    first = ingest(READINGS, source, tmp_path / "out")
    files = {file: (file.stat().st_mtime_ns, file.read_bytes()) for file in (tmp_path / "out").iterdir()}
    assert ingest(READINGS, source, tmp_path / "out", said.append) == first
    assert said == ["nothing is new"]
    assert {file: (file.stat().st_mtime_ns, file.read_bytes()) for file in (tmp_path / "out").iterdir()} == files
    for name in ("rows.parquet", "taken.parquet", "taken.json", "ingest.json"):
        (tmp_path / "out" / name).write_bytes(b"damaged")
        assert ingest(READINGS, source, tmp_path / "out") == first
        assert {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()} == {
            file.name: content for file, (_, content) in files.items()
        }
    (tmp_path / "out/taken.parquet").unlink()
    with pytest.raises(InvalidInput, match="what was taken of its source is damaged"):
        ingest(READINGS, replace(source, rereads=False), tmp_path / "out")


PARTS = st.lists(
    st.lists(st.tuples(st.integers(0, 4), st.sampled_from("ab"), st.sampled_from([1.5, 2.5, 2000, None])), max_size=6),
    min_size=1,
    max_size=3,
)


@settings(max_examples=40, deadline=None)
@given(PARTS, st.integers(0, 10**6))
def test_pulled_in_pieces_the_output_is_the_same_byte_by_byte(
    tmp_path_factory: pytest.TempPathFactory, parts: list[list[Any]], seed: int
) -> None:
    folder = tmp_path_factory.mktemp("pieces")
    chance = random.Random(seed)
    dataset = replace(READINGS, split=split)
    whole = {f"part{i}": [reading(day, sensor, value) for day, sensor, value in rows] for i, rows in enumerate(parts)}
    whole["part0"] = [reading(9), *whole["part0"]]
    growing = MemorySource({name: rows[: chance.randint(0, len(rows))] for name, rows in whole.items()})
    growing.parts["part0"] = whole["part0"][: max(1, len(growing.parts["part0"]))]
    ingest(dataset, growing, folder / "pieces")
    growing.parts = whole
    report = ingest(dataset, growing, folder / "pieces")
    assert ingest(dataset, MemorySource(whole), folder / "once") == report == load_report(folder / "pieces")
    assert sum(report.counts.values()) == report.rows_in == sum(map(len, whole.values()))
    for file in (folder / "once").iterdir():
        assert (folder / "pieces" / file.name).read_bytes() == file.read_bytes(), file.name


def test_reports_of_earlier_versions_are_read(tmp_path: Path) -> None:
    (tmp_path / "ingest.json").write_text(
        '{"definition": "shop", "digest": "d", "rows_in": 3, "counts": {"orders": 2, "quarantine": 1}, "reasons": {"x": 1}, '
        '"sources": {"a.csv": "s"}, "things": 2, "first_order": "2011-01-01T00:00:00Z", "last_order": "2011-02-01T00:00:00Z"}'
    )
    report = load_report(tmp_path)
    assert (report.dataset, report.classes, report.time, report.grain) == ("shop", ("orders",), "at", 86400.0)
    assert (report.first, report.last) == ("2011-01-01T00:00:00Z", "2011-02-01T00:00:00Z")


def test_a_definitions_digest_covers_what_it_imports_beside_it(tmp_path: Path) -> None:
    (tmp_path / "parts.py").write_text("NAME = 'one'\n")
    (tmp_path / "other.py").write_text("x = 1\n")
    (tmp_path / "shop.py").write_text(
        "from parts import NAME\nfrom tidegate.api.data import Column, Dataset\n"
        "DATASET = Dataset(NAME, {'a': Column(('a',), 'text')})\n"
    )
    first = load_dataset(tmp_path / "shop.py")
    (tmp_path / "other.py").write_text("x = 2\n")
    assert load_dataset(tmp_path / "shop.py").digest == first.digest
    (tmp_path / "parts.py").write_text("NAME = 'two'\n")
    assert load_dataset(tmp_path / "shop.py").digest != first.digest
