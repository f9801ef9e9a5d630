"""The commands over features of any key: apply, materialize, show, get, check, and what each says of old values."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.contract.keyed_features import repository, write_tables

from tidegate.cli.main import run as command
from tidegate.files.feature_folder import feature_folder

Command = Callable[..., Any]
PROJECT = """\
apiVersion: tidegate/v1
project: flights
models:
  delays:
    features: {repo: features, service: departures}
    serving: serving
    monitor: monitor.yaml
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "tidegate.yaml").write_text(PROJECT)
    (tmp_path / "serving").mkdir()
    (tmp_path / "monitor.yaml").touch()
    repository(tmp_path / "features")
    write_tables(feature_folder(tmp_path / "state", "delays"))
    monkeypatch.setenv("TIDEGATE_STATE", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(project: Path, capfd: pytest.CaptureFixture[str]) -> Command:
    def asked(*arguments: str, code: int = 0) -> str:
        capfd.readouterr()
        found = command(["features", *arguments])
        output = capfd.readouterr()
        assert found == code, output
        return output.out

    return asked


@pytest.fixture
def told(run: Command) -> Command:
    return lambda *arguments, code=0: json.loads(run(*arguments, "--json", code=code))


def test_features_of_a_composite_key_are_registered_filled_shown_and_checked(run: Command, told: Command) -> None:
    assert "departures" in told("apply", "delays")["services"]
    shown = run("show", "delays")
    assert "of carrier (BYTES), flight (INT64)" in shown
    assert "online.db does not exist" in shown
    assert "weather (by carrier, a value holds 12 h): wind, sky (BYTES)" in shown
    assert told("materialize", "delays", "--until", "2013-07-31T12:00") == {"model": "delays", "entities": 3, "missing": []}
    found = told("get", "delays", "flight=12,carrier=AA", '{"carrier": "UA", "flight": 1}')
    assert found['["UA",1]'] == {"key": {"carrier": "UA", "flight": 1}, "found": False, "event_timestamp": None, "values": {}}
    assert found['["AA",12]']["values"] == {
        "flights__delay": 4.5,
        "flights__seats": 180,
        "flights__red_eye": True,
        "flights__aircraft": "A320",
        "weather__wind": 11.0,
        "weather__sky": "clear",
    }
    past = told("get", "delays", "carrier=AA,flight=12", "--at", "2013-07-30T12:00")['["AA",12]']
    assert (past["found"], past["values"]["flights__aircraft"], past["values"]["weather__sky"]) == (True, "old", None)
    text = run("get", "delays", '["DL", 12]')
    assert "carrier=DL flight=12  known at 2013-07-31T12:00:00+00:00" in text
    assert "flights__seats = missing" in text
    (verdict,) = told("check", "delays")
    assert (verdict["verdict"], verdict["evidence"]["sample_size"]) == ("PASS", 3)
    run("get", "delays", "AA", code=2)


def test_rows_of_july_2013_served_now_are_missing_and_check_says_so(run: Command, told: Command) -> None:
    run("apply", "delays")
    said = told("materialize", "delays")["missing"]
    assert len(said) == 2
    assert "view 'weather': its newest row, of 2013-07-31 11:00, is" in said[1]
    assert "longer than its TTL of 12 h: all its values are missing" in said[1]
    assert "online: weather up to" in run("show", "delays")
    assert [view["missing"] for view in told("show", "delays")["freshness"]] == [True, True]
    found = told("get", "delays", "carrier=AA,flight=12")['["AA",12]']
    assert found["found"]
    assert set(found["values"].values()) == {None}
    (verdict,) = told("check", "delays", code=5)
    assert verdict["verdict"] == "FAIL"
    assert "all its values are missing" in verdict["evidence"]["summary"]
    wrong = [finding["subject"] for finding in verdict["evidence"]["findings"] if not finding["ok"]]
    assert wrong == ["freshness of flights", "freshness of weather"]
