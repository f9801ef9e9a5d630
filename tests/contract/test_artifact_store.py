"""Releases and feature tables in the artifact store of a real MLflow server: stored once, whole, and verified when fetched."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import polars as pl
import pytest

from tidegate.adapters.files.project_file import load_project
from tidegate.adapters.mlflow.artifacts import MlflowArtifacts, tables_digest
from tidegate.apps import wiring
from tidegate.apps.gate_service import FetchedFeatures
from tidegate.apps.new_project import planned_files, write
from tidegate.apps.platform import Platform
from tidegate.cli.main import run as command
from tidegate.domain.errors import IntegrityError, NotFound, Unavailable
from tidegate.domain.release import Lineage, ReleaseManifest
from tidegate.files.digests import file_digest
from tidegate.files.feature_folder import feature_folder


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """Address of an MLflow server, and the folder that its artifacts lie in."""
    folder = tmp_path_factory.mktemp("mlflow")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db"]
    command += ["--serve-artifacts", "--artifacts-destination", str(folder / "artifacts")]
    quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | quiet, start_new_session=True)
    try:
        for _ in range(300):
            assert process.poll() is None, (folder / "log").read_text()
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1).close()
                break
            except OSError:
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}", folder / "artifacts" / "tidegate"
    finally:
        os.killpg(process.pid, 15)
        process.wait(20)


def release(folder: Path, content: str) -> Path:
    """A release of one file in a folder."""
    work = folder / "work"
    (work / "model").mkdir(parents=True)
    (work / "model" / "model.onnx").write_text(content)
    files = {"model/model.onnx": file_digest(work / "model" / "model.onnx")}
    lineage = Lineage("data", "features", "code", "pipeline", "run", "2011-01-01T00:00:00")
    manifest = ReleaseManifest("demand", "1", "demand", "schema", lineage, files)
    (work / "manifest.json").write_bytes(manifest.to_bytes())
    return work.rename(folder / manifest.digest)


def test_a_release_comes_back_as_it_was(server: tuple[str, Path], tmp_path: Path) -> None:
    made = release(tmp_path, "a")
    store = MlflowArtifacts(server[0])
    store.push_release(made)
    store.push_release(made)
    fetched = store.fetch_release(made.name, tmp_path / "fetched")
    assert fetched == tmp_path / "fetched" / made.name
    assert (fetched / "model" / "model.onnx").read_text() == "a"
    assert store.fetch_release(made.name, tmp_path / "fetched") == fetched


def test_a_push_that_was_interrupted_is_not_there_and_can_be_repeated(server: tuple[str, Path], tmp_path: Path) -> None:
    made = release(tmp_path, "b")
    store = MlflowArtifacts(server[0])
    store.push_release(made)
    stored = server[1] / "releases" / made.name
    (stored / "manifest.json").unlink()  # it is written last
    with pytest.raises(NotFound, match="is not in the artifact store"):
        store.fetch_release(made.name, tmp_path / "fetched")
    store.push_release(made)
    assert store.fetch_release(made.name, tmp_path / "fetched").is_dir()


def test_a_release_that_was_changed_in_the_store_is_refused(server: tuple[str, Path], tmp_path: Path) -> None:
    made = release(tmp_path, "c")
    store = MlflowArtifacts(server[0])
    store.push_release(made)
    (server[1] / "releases" / made.name / "model" / "model.onnx").write_text("changed")
    with pytest.raises(IntegrityError, match="has digest"):
        store.fetch_release(made.name, tmp_path / "fetched")
    assert not (tmp_path / "fetched" / made.name).exists()


def test_a_damaged_release_is_not_stored(server: tuple[str, Path], tmp_path: Path) -> None:
    made = release(tmp_path, "d")
    (made / "model" / "model.onnx").write_text("changed")
    with pytest.raises(IntegrityError):
        MlflowArtifacts(server[0]).push_release(made)
    assert not (server[1] / "releases" / made.name).exists()


def test_tables_replace_the_ones_before(server: tuple[str, Path], tmp_path: Path) -> None:
    store = MlflowArtifacts(server[0])
    with pytest.raises(NotFound, match="no feature tables"):
        store.current_tables("demand")
    for content in ("first", "second"):
        tables = tmp_path / content
        tables.mkdir()
        (tables / f"{content}.parquet").write_text(content)
        digest = store.push_tables("demand", tables)
        assert store.current_tables("demand") == digest == tables_digest(tables)
        store.fetch_tables(digest, tmp_path / "here")
    assert [path.name for path in (tmp_path / "here").glob("*.parquet")] == ["second.parquet"]
    with pytest.raises(NotFound, match="feature tables 000000000000 are not in"):
        store.fetch_tables("0" * 64, tmp_path / "here")
    (server[1] / "features" / digest / "second.parquet").write_text("changed")
    with pytest.raises(IntegrityError, match="feature tables"):
        store.fetch_tables(digest, tmp_path / "here")
    assert (tmp_path / "here" / "second.parquet").is_file()


def test_a_refresh_with_an_empty_state_folder_serves_pods_and_gate_service_alike(
    server: tuple[str, Path], redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a CronJob runs it: nothing but the project, the models' Redis and the store of the gate service."""
    write(planned_files(tmp_path / "bikes")[1])
    monkeypatch.chdir(tmp_path / "bikes")
    for name, value in {"STATE": "empty", "ONLINE_STORE": redis_url, "STORE": server[0]}.items():
        monkeypatch.setenv(f"TIDEGATE_{name}", value)
    assert command(["features", "refresh", "--until", "2012-12-01"]) == 0
    pods = Platform(load_project())
    contract, served = pods.contract("rentals"), pods.online_features("rentals", ["8"])["8"]

    project = replace(load_project(), state=tmp_path / "gates")
    folder, own = feature_folder(project.state, "rentals"), project.model("rentals").its_features()
    tables = FetchedFeatures(wiring.feature_store(own.repo, folder, service=own.service), MlflowArtifacts(server[0]), folder)
    asked = pl.DataFrame({"hour": [8], "event_timestamp": [datetime.fromisoformat(served["event_timestamp"])]})
    assert served["values"] == pytest.approx(tables.historical(contract, asked).select(contract.vector).to_dicts()[0])


def test_a_server_that_is_away_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="in the artifact store"):
        MlflowArtifacts("http://127.0.0.1:1").fetch_release("0" * 64, tmp_path)
