"""From raw data to the online store by one command: whole or not at all, safe to repeat, each step's outcome told."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tidegate.adapters.feast.features import FeastFeatureStore
from tidegate.adapters.files.project_file import load_project
from tidegate.apps import refresh as refreshing
from tidegate.apps.features import open_features
from tidegate.apps.new_project import planned_files, write
from tidegate.cli.main import run as command
from tidegate.domain.errors import Unavailable
from tidegate.files.digests import file_digest
from tidegate.files.durable_files import locked

Refresh = Callable[..., dict[str, Any]]
UNTIL = "2012-12-01"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new project whose source is a folder of text files."""
    folder = tmp_path_factory.mktemp("new") / "bikes"
    write(planned_files(folder)[1])
    (folder / "data/raw").mkdir()
    rows = pl.read_csv(folder / "data/hour.csv.gz")
    rows.filter(pl.col("dteday") < "2012-11-01").write_csv(folder / "data/raw/1.csv")
    rows.filter(pl.col("dteday") >= "2012-11-01").write_csv(folder / "data/next.csv")
    file = folder / "tidegate.yaml"
    file.write_text(file.read_text().replace("data/hour.csv.gz", "data/raw"))
    return folder


@pytest.fixture
def project(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "bikes"
    shutil.copytree(made, folder)
    monkeypatch.setenv("TIDEGATE_STATE", str(folder / "state"))
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def refresh(project: Path, capfd: pytest.CaptureFixture[str]) -> Refresh:
    def refreshed(*arguments: str, code: int = 0) -> dict[str, Any]:
        capfd.readouterr()
        found = command(["features", "refresh", *arguments, "--json"])
        output = capfd.readouterr()
        assert found == code, output
        return {**json.loads(output.out), "err": output.err}

    return refreshed


def outcomes(found: dict[str, Any]) -> dict[str, str]:
    return {step["name"]: step["outcome"] for step in found["steps"]}


def published(project: Path) -> dict[str, str]:
    """What is read of the features: by name, its digest. Locks are nobody's content."""
    root = open_features(load_project(project), "rentals").root
    files = [path for path in root.rglob("*") if path.is_file() and not path.name.endswith(".lock")]
    return {path.relative_to(root).as_posix(): file_digest(path) for path in files}


def test_a_refresh_takes_raw_data_to_the_online_store_and_then_what_is_new(refresh: Refresh, project: Path) -> None:
    first = refresh("--until", "2012-11-01")
    assert outcomes(first) == dict.fromkeys(["ingest rentals", "tables", "definitions", "online", "check"], "done")
    assert (first["failed"], first["until"]) == (None, "2012-11-01T00:00:00+00:00")
    before = published(project)
    again = refresh("--until", "2012-11-01")
    assert outcomes(again)["ingest rentals"] == "unchanged"
    assert published(project)["tables/hour_history.parquet"] == before["tables/hour_history.parquet"]
    shutil.copy(project / "data/next.csv", project / "data/raw/2.csv")
    new = refresh("--until", UNTIL)
    assert f"{len(pl.read_csv(project / 'data/next.csv')):,} more: " in new["steps"][0]["said"]
    assert published(project)["online.db"] != before["online.db"]
    assert not list((project / "state/features").glob(".*"))


def test_where_a_step_fails_all_is_as_it_was_and_the_exit_code_is_that_of_the_step(
    refresh: Refresh, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refresh("--until", "2012-11-01")
    before = published(project)
    shutil.copy(project / "data/next.csv", project / "data/raw/2.csv")

    views = project / "features/rentals_views.py"
    kept = views.read_text()
    views.write_text(kept.replace('FeatureService(name="rentals"', 'FeatureService(name="other"'))
    wrong = refresh("--until", UNTIL, code=3)
    assert outcomes(wrong) == {
        "ingest rentals": "done",
        "tables": "done",
        "definitions": "failed",
        "online": "not run",
        "check": "not run",
    }
    assert wrong["failed"] == "definitions"
    assert published(project) == before
    views.write_text(kept)

    def away(self: FeastFeatureStore, until: object) -> int:
        assert published(project) != before, "what the online store is made of is in place by now"
        raise Unavailable("the online store is away; start it")

    with monkeypatch.context() as patched:
        patched.setattr(FeastFeatureStore, "materialize", away)
        failed = refresh("--until", UNTIL, code=7)
    assert (failed["failed"], outcomes(failed)["check"]) == ("online", "not run")
    assert "the online store is away; start it" in failed["err"]
    assert published(project) == before
    assert outcomes(refresh("--until", UNTIL))["ingest rentals"] == "unchanged"

    (project / "data/raw/3.csv").write_text("no,columns,of,ours\n1,2,3,4\n")
    refused = refresh("--until", UNTIL, code=2)
    assert outcomes(refused)["tables"] == "not run"
    assert "3.csv" in refused["steps"][0]["said"]


def test_a_refresh_that_was_killed_is_undone_and_made_good_by_the_next(
    refresh: Refresh, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refresh("--until", "2012-11-01")
    before, root = published(project), open_features(load_project(project), "rentals").root
    (root / ".earlier").mkdir()
    (root / "tables").rename(root / ".earlier/tables")  # between the two moves
    (root.parent / ".rentals.next").mkdir()
    (project / "data/raw/3.csv").write_text("no,columns,of,ours\n1,2,3,4\n")
    refresh("--until", "2012-11-01", code=2)
    assert published(project) == before
    (project / "data/raw/3.csv").unlink()
    refresh("--until", "2012-11-01")


def test_of_two_refreshes_of_a_model_one_waits_for_the_other(
    project: Path, refresh: Refresh, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []
    monkeypatch.setattr(refreshing, "_run", lambda *_: ran.append("second"))
    said = threading.Event()
    monkeypatch.setattr("tidegate.cli.session.Session.progress", lambda self, message: said.set())
    with locked(open_features(load_project(project), "rentals").root / refreshing.LOCK):
        waiting = threading.Thread(target=command, args=(["features", "refresh", "--until", UNTIL],))
        waiting.start()
        assert said.wait(20)
        ran.append("first")
    waiting.join(20)
    assert ran == ["first", "second"]


def test_what_would_be_done_is_said_first(project: Path, refresh: Refresh) -> None:
    plan = refresh("--dry-run", "--store", "http://127.0.0.1:1")
    assert plan["steps"] == ["ingest rentals", "tables", "definitions", "publish", "online", "check"]
    assert not (project / "state/features").exists()
