"""Tables of any key and kind, cut at any moment, of several datasets; and none that grows without bound."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from fakes.dataset_source import MemorySource
from tidegate.data.dataset import Column, Dataset
from tidegate.data.ingest import ingest
from tidegate.data.model_data import ModelData, Timing, data_digest, read_data
from tidegate.data.point_in_time import check, default_cutoffs
from tidegate.data.tables import TIME, build_tables, checked_tables
from tidegate.data.tables_definition import Tables, load_build
from tidegate.domain.errors import InvalidInput, NotFound

START = datetime(2024, 3, 1, tzinfo=UTC)
HOUR, DAY, INSTANT = timedelta(hours=1), timedelta(days=1), timedelta(microseconds=1)
NOON = datetime(2024, 3, 5, 12, 0, tzinfo=UTC)


def flights(hours: int = 400) -> pl.DataFrame:
    rows = [
        (carrier, number, START + i * HOUR + timedelta(minutes=7 * number), float(i % 13))
        for i in range(hours)
        for carrier, number in (("AA", 1), ("AA", 2), ("BA", 1))
    ]
    return pl.DataFrame(rows, schema=["carrier", "number", "at", "delay"], orient="row").with_columns(
        pl.col("at").cast(pl.Datetime("us", "UTC"))
    )


def weather(days: int = 17) -> pl.DataFrame:
    return pl.DataFrame({"day": [date(2024, 3, 1) + i * DAY for i in range(days)], "rain": [float(i % 3) for i in range(days)]})


def data(grain: timedelta | None = None) -> ModelData:
    return ModelData(
        {"flights": flights(), "weather": weather(), "airports": pl.DataFrame({"code": ["X"]})},
        {"flights": Timing("at", grain, timedelta(days=10)), "weather": Timing("day", None, timedelta(days=10))},
    )


KEY = ["carrier", "number"]


def build(classes: Mapping[str, pl.DataFrame], until: datetime) -> Tables:
    """What was known before each whole hour: by flight, and of the weather without any key."""
    known = classes["flights"].sort("at").with_columns((pl.col("at").dt.truncate("1h") + HOUR).alias(TIME))
    flown = (
        known.group_by(*KEY, TIME, maintain_order=True)
        .agg(last=pl.col("delay").last(), count=pl.len().cast(pl.Int64), late=pl.col("delay").last() > 6, kind=pl.lit("x"))
        .filter(pl.col(TIME) <= until)
    )
    ended = (pl.col("day").cast(pl.Datetime("us")) + DAY).dt.replace_time_zone("UTC").alias(TIME)
    return {"flown": flown, "rain": classes["weather"].select(ended, "rain")}


@pytest.mark.parametrize(
    "moment", [NOON, NOON + INSTANT, datetime(2024, 3, 5, 7, 31, 12, 345, tzinfo=UTC), START + 30 * INSTANT]
)
def test_data_are_cut_at_any_moment_and_a_day_is_known_when_it_is_over(moment: datetime) -> None:
    before = data().known_before(moment)
    assert all(at < moment for at in before["flights"]["at"])
    assert len(before["flights"]) == sum(at < moment for at in flights()["at"])
    assert before["weather"]["day"].to_list() == [
        d for d in weather()["day"] if datetime(d.year, d.month, d.day, tzinfo=UTC) + DAY <= moment
    ]
    assert len(before["airports"]) == 1


def test_until_is_just_after_the_newest_row_rounded_up_to_the_grain() -> None:
    newest = max(flights()["at"])
    only = ModelData({"flights": flights()}, {"flights": Timing("at", None, DAY)})
    assert only.until() == newest + INSTANT
    for grain, wanted in ((HOUR, newest.replace(minute=0) + HOUR), (DAY, newest.replace(hour=0, minute=0) + DAY)):
        timed = ModelData({"flights": flights()}, {"flights": Timing("at", grain, DAY)})
        assert timed.until() == wanted
        exactly = ModelData({"flights": flights().with_columns(at=pl.lit(wanted))}, timed.timing)
        assert exactly.until() == wanted + grain
    assert ModelData({"w": weather()}, {"w": Timing("day", None, DAY)}).until() == datetime(2024, 3, 18, tzinfo=UTC)
    with pytest.raises(InvalidInput, match="the data have no time"):
        ModelData({"a": weather()}, {}).until()


def test_an_until_farther_ahead_than_time_may_jump_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"is more than 10 days \(max_gap\) after the newest row"):
        data().checked_until(datetime(2091, 1, 1, tzinfo=UTC))
    with pytest.raises(InvalidInput, match="max_gap"):
        build_tables(definition(tmp_path, "data, until"), data(), tmp_path / "out", datetime(2025, 1, 1, tzinfo=UTC))
    assert data().checked_until(datetime(2024, 3, 20)) == datetime(2024, 3, 20, tzinfo=UTC)


def definition(folder: Path, parameters: str, body: str = "return {}") -> Path:
    path = folder / "t_tables.py"
    path.write_text(f"import polars as pl\n\ndef build({parameters}):\n    {body}\n")
    return path


def test_a_definition_may_name_the_classes_that_it_wants(tmp_path: Path) -> None:
    body = "return {'n': flights.select('carrier', pl.lit(until).alias('event_timestamp'), pl.lit(1.0).alias('x')).unique()}"
    report = build_tables(definition(tmp_path, "flights, until", body), data(), tmp_path / "out", NOON)
    assert (report.rows, report.entities, report.until) == ({"n": 2}, 2, NOON.isoformat())
    with pytest.raises(InvalidInput, match="the data have no class 'trains'; its classes are flights, weather, airports"):
        build_tables(definition(tmp_path, "trains, until"), data(), tmp_path / "out", NOON)
    for wrong in ("data", "until, data", ""):
        with pytest.raises(InvalidInput, match=r"required build\(data, until\)"):
            load_build(definition(tmp_path, wrong))
    with pytest.raises(InvalidInput, match=r"build\(\) of .*t_tables.py failed before .*: ColumnNotFoundError"):
        build_tables(definition(tmp_path, "data, until", "data['flights'].select('nothing')"), data(), tmp_path / "out", NOON)


def test_keys_of_any_type_and_number_and_features_of_four_kinds_are_tables() -> None:
    tables = checked_tables("t.py", build(data().classes, START + 10 * DAY), START + 20 * DAY, 1000)
    assert tables["flown"].columns == ["carrier", "number", TIME, "last", "count", "late", "kind"]
    assert tables["rain"].columns == [TIME, "rain"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"carrier": pl.lit(1.5)}, "column 'carrier' of the key is Float64, allowed: String, Int64"),
        ({"number": pl.lit(None, pl.Int64)}, "has rows without 'number'"),
        ({"late": pl.lit([1])}, r"features, the columns after 'event_timestamp', must be .*'late' is List"),
        ({"last": pl.lit(float("inf"))}, "feature 'last' has infinite values"),
        ({TIME: pl.lit(START + 21 * DAY).cast(pl.Datetime("us", "UTC"))}, "none may be after"),
        (
            {TIME: pl.lit(datetime(2024, 3, 1))},
            r"needs 'event_timestamp' \(Datetime.* it has Datetime\(time_unit='us', time_zone=None\)",
        ),
        ({"carrier": pl.lit("AA"), "number": pl.lit(1)}, "has two rows for one 'carrier', 'number' and 'event_timestamp'"),
    ],
)
def test_what_a_feature_store_could_not_hold_is_refused_by_name(change: dict[str, pl.Expr], says: str) -> None:
    table = build(data().classes, START + 10 * DAY)["flown"].with_columns(**change)
    with pytest.raises(InvalidInput, match=says):
        checked_tables("t.py", {"flown": table}, START + 20 * DAY, 1000)


def test_a_table_out_of_proportion_to_its_data_is_refused() -> None:
    rows = pl.select(
        pl.datetime_range(START, START + timedelta(seconds=100_001), "1s", time_unit="us").alias(TIME)
    ).with_columns(x=1.0)
    with pytest.raises(InvalidInput, match=r"has 100,002 rows of 999 rows of data, allowed are 100,000"):
        checked_tables("t.py", {"t": rows}, START + 20 * DAY, 999)
    assert checked_tables("t.py", {"t": rows}, START + 20 * DAY, 1001)
    assert checked_tables("t.py", {"t": rows}, START + 20 * DAY, 9, most=100_002)


def test_a_definition_that_means_more_rows_or_fewer_says_so(tmp_path: Path) -> None:
    body = "return {'t': pl.DataFrame({'event_timestamp': [until, until], 'x': [1.0, 2.0]}, schema_overrides=TYPES)}"
    path = definition(tmp_path, "data, until", body)
    types = "TYPES = {'event_timestamp': pl.Datetime('us', 'UTC')}\n"
    path.write_text(path.read_text() + types + "MAX_ROWS = 0\n")
    with pytest.raises(InvalidInput, match="says MAX_ROWS = 0, required a whole number from 1"):
        load_build(path)
    for most, says in ((1, r"has 2 rows of 1,\d+ rows of data, allowed are 1;"), (2, "has two rows for one moment")):
        path.write_text(path.read_text().rpartition("MAX_ROWS")[0] + f"MAX_ROWS = {most}\n")
        with pytest.raises(InvalidInput, match=says):
            build_tables(path, data(), tmp_path / "out", NOON + 12 * DAY)


def test_features_of_several_keys_and_datasets_do_not_look_ahead_at_any_cutoff() -> None:
    for cutoffs in ((), (NOON,), (NOON + timedelta(minutes=31, microseconds=7), NOON + 2 * DAY)):
        for key in ((), KEY, ["carrier"]):
            findings = check(build, data(), key, cutoffs)
            assert [finding.ok for finding in findings] == [True], findings
            assert findings[0].observed > 100


LATER = {  # by the feature that then sees the future
    "flown:last": pl.col("last").shift(-1).over(KEY),
    "flown:late": pl.col("late").shift(-1).over(KEY),
    "flown:count": pl.len().over(KEY).cast(pl.Int64).alias("count"),
    "flown:kind": pl.len().over(KEY).cast(pl.String).alias("kind"),
    "rain:rain": pl.col(TIME) - DAY,
}


@pytest.mark.parametrize("name", LATER)
@pytest.mark.parametrize("key", [(), KEY])
def test_a_leak_in_a_feature_of_any_kind_is_named_with_its_whole_key(name: str, key: list[str]) -> None:
    def leaking(classes: Mapping[str, pl.DataFrame], until: datetime) -> Tables:
        tables, view = build(classes, until), name.partition(":")[0]
        return {**tables, view: tables[view].with_columns(LATER[name])}

    findings = {finding.subject: finding for finding in check(leaking, data(), key)}
    assert name in findings
    assert not findings[name].ok
    if name.startswith("flown"):
        assert "carrier=AA number=" in findings[name].note


def test_default_cutoffs_lie_in_the_history_on_days_or_between_them() -> None:
    daily = ModelData({"f": flights(24 * 400)}, {"f": Timing("at", DAY, DAY)})
    assert [moment.time().isoformat() for moment in default_cutoffs(daily)] == ["00:00:00"] * 3
    assert len({moment.weekday() for moment in default_cutoffs(daily)}) == 3
    short = ModelData({"f": flights(30)}, {"f": Timing("at", None, DAY)})
    assert len(default_cutoffs(short)) == 3
    assert all(min(flights(30)["at"]) < moment < max(flights(30)["at"]) for moment in default_cutoffs(short))


def test_a_models_data_are_the_classes_of_all_its_datasets(tmp_path: Path) -> None:
    def made(name: str, **more: Any) -> None:
        dataset = Dataset(name, {"at": Column(("at",), "timestamp")}, time="at", **more)
        ingest(dataset, MemorySource({"p": [{"at": "2024-03-01 10:00:00"}]}), tmp_path / name)

    made("one", grain=HOUR)
    made("two", split=lambda rows: {"others": rows})
    both = read_data(tmp_path, ["one", "two"])
    assert list(both.classes) == ["rows", "others"]
    assert both.until() == datetime(2024, 3, 1, 11, tzinfo=UTC)
    assert data_digest(tmp_path, ["one", "two"]) != data_digest(tmp_path, ["one"])
    made("two")
    with pytest.raises(InvalidInput, match="datasets 'one' and 'two' both have a class 'rows'"):
        read_data(tmp_path, ["one", "two"])
    with pytest.raises(NotFound, match="run 'tidegate ingest' first"):
        read_data(tmp_path, ["three"])
    with pytest.raises(NotFound, match="have no class 'nothing'; their classes are rows"):
        read_data(tmp_path, ["one"])["nothing"]
