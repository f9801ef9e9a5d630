"""A project's datasets by its commands: all, one or a model's; other sources beside its own; the rows behind an answer."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from tidegate.adapters.files.project_file import load_project
from tidegate.apps.datasets import ingest_beside, model_data, trained_until
from tidegate.apps.platform import Platform
from tidegate.apps.rows_behind import rows_behind
from tidegate.cli.main import run
from tidegate.domain.contract import FeatureContract
from tidegate.domain.errors import InvalidInput, NotFound
from tidegate.domain.keys import JoinKey, entity_of

PROJECT = """\
apiVersion: tidegate/v1
project: airports
stateDir: state
datasets:
  flights: {definition: flights.py, sources: [flights]}
  weather: {definition: weather.py, sources: [weather.csv]}
models:
  delays: {datasets: [flights, weather], monitor: monitor.yaml}
  taxi: {datasets: [flights], monitor: monitor.yaml}
  images: {monitor: monitor.yaml}
"""
FLIGHTS = """
import polars as pl
from tidegate.api.data import Column, Dataset

def split(rows):
    return {"flown": rows.filter(pl.col("delay").is_not_null()), "cancelled": rows.filter(pl.col("delay").is_null())}

DATASET = Dataset(
    "flights",
    {
        "carrier": Column(("Carrier",), "category"),
        "number": Column(("Flight",), "integer"),
        "at": Column(("Departure",), "timestamp"),
        "delay": Column(("Delay",), "number", nullable=True),
    },
    time="at",
    identity=("carrier", "number", "at"),
    split=split,
)
"""
WEATHER = """
from tidegate.api.data import Column, Dataset
DATASET = Dataset("weather", {"day": Column(("Day",), "date"), "rain": Column(("Rain",), "number")}, time="day")
"""
MAY = """Carrier,Flight,Departure,Delay
AA,1,2024-05-01 08:00:00,3
AA,1,2024-05-02 08:00:00,
BA,1,2024-05-02 09:00:00,7
AA,12,2024-05-03 08:00:00,-1
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "flights").mkdir()
    files = {"tidegate.yaml": PROJECT, "flights.py": FLIGHTS, "weather.py": WEATHER, "flights/may.csv": MAY, "monitor.yaml": ""}
    for name, text in {**files, "weather.csv": "Day,Rain\n2024-05-01,2\n2024-05-02,0.5\n"}.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TIDEGATE_STATE", raising=False)
    return tmp_path


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert run([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("named", "datasets"),
    [([], ["flights", "weather"]), (["weather"], ["weather"]), (["delays"], ["flights", "weather"]), (["taxi"], ["flights"])],
)
def test_ingest_takes_a_dataset_a_models_or_all(
    folder: Path, capsys: pytest.CaptureFixture[str], named: list[str], datasets: list[str]
) -> None:
    found = told(capsys, "ingest", *named)
    assert [report["dataset"] for report in (found if isinstance(found, list) else [found])] == datasets
    assert sorted(path.name for path in (folder / "state/data").glob("[!.]*")) == datasets


def test_a_second_ingestion_takes_new_files_of_the_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert told(capsys, "ingest", "flights")["counts"] == {"flown": 3, "cancelled": 1, "quarantine": 0}
    (folder / "flights/june.csv").write_text(
        "Carrier,Flight,Departure,Delay\nAA,1,2024-06-01 08:00:00,3\nAA,1,2024-05-01 08:00:00,3\n"
    )
    assert run(["ingest", "flights"]) == 0
    shown = capsys.readouterr()
    assert "read june.csv, 2 new rows" in shown.err
    assert "may.csv" not in shown.err
    assert shown.out.splitlines()[:2] == ["flights: 6 rows in: 4 flown, 1 cancelled, 1 quarantine", "  quarantine overlap: 1"]
    assert "  from 2024-05-01 08:00 to 2024-06-01 08:00" in shown.out


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["ingest", "flihgts"], 3, "no dataset or model 'flihgts'; did you mean 'flights'?"),
        (["ingest", "images"], 2, "model 'images' has no dataset; name one under 'datasets'"),
        (["ingest", "--source", "x.csv"], 2, "--source is of one dataset; name one of flights, weather"),
        (["ingest", "weather", "--source", "x.csv"], 2, "x.csv does not exist"),
        (["train", "taxi"], 2, "model 'taxi' has no pipeline"),
        (["features", "build", "taxi"], 2, "model 'taxi' has no features"),
        (["train", "delays", "--source", "x.csv"], 2, "write DATASET=PATH; the datasets of 'delays' are flights, weather"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, says: str
) -> None:
    if arguments[0] != "ingest":
        run(["ingest"])
    capsys.readouterr()
    assert run(arguments) == code
    shown = capsys.readouterr().err.splitlines()
    assert says in shown[-1]


def test_other_sources_are_ingested_beside_the_projects_own(folder: Path) -> None:
    platform = Platform(load_project(folder))
    platform.ingest_all("delays")
    (folder / "other.csv").write_text(MAY.replace("2024-05", "2023-05"))
    beside = ingest_beside(platform.project, "delays", {"flights": [folder / "other.csv"]}, lambda _: None)
    assert beside.parent == folder / "state/exports"
    there, own = model_data(platform.project, "delays", beside), platform.data("delays")
    assert there["flown"]["at"].max().year == 2023  # type: ignore[union-attr]
    assert own["flown"]["at"].max().year == 2024  # type: ignore[union-attr]
    assert there["rows"].equals(own["rows"])
    assert ingest_beside(platform.project, "delays", {"flights": [folder / "other.csv"]}, lambda _: None) == beside
    with pytest.raises(InvalidInput, match="model 'delays' has no dataset 'flight'; did you mean 'flights'"):
        ingest_beside(platform.project, "delays", {"flight": []}, lambda _: None)
    with pytest.raises(InvalidInput, match="there is no file"):
        ingest_beside(platform.project, "delays", {"flights": [folder / "none.csv"]}, lambda _: None)


def test_the_data_of_a_model_are_not_there_before_they_are_ingested(folder: Path) -> None:
    with pytest.raises(NotFound, match="run 'tidegate ingest' first"):
        Platform(load_project(folder)).data("delays")


@pytest.mark.parametrize("text", ["DEFINITION = 1\n", "from tidegate.api.data import IngestDefinition\n"])
def test_a_definition_of_earlier_versions_says_what_it_is_now(
    folder: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    (folder / "weather.py").write_text(text)
    assert run(["ingest", "weather"]) == 2
    assert "of earlier versions is a DATASET = Dataset(...) with a split() of its own" in capsys.readouterr().err


def test_a_training_looks_until_the_newest_row_and_until_now_where_the_data_have_no_time(folder: Path) -> None:
    platform = Platform(load_project(folder))
    platform.ingest_all("delays")
    data = folder / "state/data"
    newest = datetime(2024, 5, 3, 8, 0, 0, 1, tzinfo=UTC)
    assert trained_until(platform.project, "delays", data) == (newest, True)
    assert trained_until(platform.project, "delays", data, datetime(2024, 5, 2, 7, 31)) == (
        datetime(2024, 5, 2, 7, 31, tzinfo=UTC),
        True,
    )
    before = datetime.now(UTC)
    moment, of_the_data = trained_until(platform.project, "images", data)
    assert (moment >= before, of_the_data) == (True, False)
    (folder / "weather.py").write_text(WEATHER.replace(', time="day"', ""))
    platform.ingest("weather")
    timeless = replace(platform.project.model("delays"), datasets=("weather",))
    project = replace(platform.project, models={"delays": timeless})
    assert trained_until(project, "delays", data, newest) == (newest, False)


KEY = (JoinKey("carrier"), JoinKey("number", "INT64"))


def test_the_rows_behind_an_answer_are_those_of_its_key_before_its_features(folder: Path) -> None:
    platform = Platform(load_project(folder))
    platform.ingest_all("delays")
    contract = replace(FeatureContract("delays", "flight", {}, (), (), "", (), {}), join_keys=KEY)
    moments = [pl.Series(["2024-05-02 08:00:00"]).str.to_datetime(time_unit="us")[0], None]
    micros = int(np.datetime64(moments[0], "us").astype(int))
    flight = entity_of(("AA", 1), KEY)
    record = SimpleNamespace(entities=[flight, flight], event_times=np.array([micros, micros + 1]))
    (source,) = rows_behind(platform, "delays", contract, record)  # type: ignore[arg-type]
    assert (source.entity, source.count) == (flight, 2)
    assert [(row["class"], row["at"]) for row in source.latest] == [
        ("cancelled", "2024-05-02 08:00:00"),
        ("flown", "2024-05-01 08:00:00"),
    ]
    bare = replace(platform.project.model("delays"), datasets=())
    other = Platform(replace(platform.project, models={"delays": bare}))
    (nothing,) = rows_behind(other, "delays", contract, record)  # type: ignore[arg-type]
    assert (nothing.count, nothing.latest) == (0, ())
