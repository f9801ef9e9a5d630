"""`tidegate registry ui`: MLflow's own page over the project's registry, on loopback, gone with the command."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import psutil
import pytest

from tidegate.adapters.mlflow import database
from tidegate.cli.main import run

PROJECT = "apiVersion: tidegate/v1\nproject: shop\nmodels:\n  demand: {monitor: monitor.yaml}\n"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "tidegate.yaml").write_text(PROJECT)
    (tmp_path / "monitor.yaml").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TIDEGATE_STATE", str(tmp_path / "state"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def registered(project: Path) -> None:
    from mlflow.tracking import MlflowClient

    folder = project / "state/mlflow"
    folder.mkdir(parents=True)
    database.create(folder / "mlflow.db")
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db", f"sqlite:///{folder}/mlflow.db")
    client.create_registered_model("demand", description="units of each key")


def test_the_page_shows_the_registry_and_leaves_nothing_when_it_ends(project: Path) -> None:
    registered(project)
    port = free_port()
    command = [sys.executable, "-m", "tidegate.cli.main", "registry", "ui", "demand", "--port", str(port), "--json"]
    # a shell's background jobs ignore SIGINT, a terminal's do not
    restore = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.default_int_handler)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ, **restore)
    try:
        assert process.stdout is not None
        said = b"".join(process.stdout.readline() for _ in range(4))
        address = f"http://127.0.0.1:{port}/#/models/demand"
        assert json.loads(said) == {"address": address, "remote": False}
        for _ in range(100):
            try:
                page = urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5).read()
                break
            except OSError:
                time.sleep(0.1)
        assert b"<title>MLflow</title>" in page
        asked = f"http://127.0.0.1:{port}/ajax-api/2.0/mlflow/registered-models/get?name=demand"
        found = json.loads(urllib.request.urlopen(asked, timeout=20).read())["registered_model"]
        assert found["description"] == "units of each key"
        (listening,) = [each for each in psutil.Process(process.pid).net_connections("tcp") if each.status == "LISTEN"]
        assert listening.laddr.ip == "127.0.0.1"
        assert psutil.Process(process.pid).children(recursive=True) == []
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.communicate()
    with socket.socket() as gone:
        assert gone.connect_ex(("127.0.0.1", port)) != 0


def test_where_a_server_is_the_registry_its_page_is_named(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://mlflow.example.org/")
    assert run(["registry", "ui", "demand"]) == 0
    assert capsys.readouterr().out == "https://mlflow.example.org/#/models/demand\n"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://ada:secret@db/mlflow")
    assert run(["registry", "ui"]) == 2
    said = capsys.readouterr().err
    assert "names a store (postgresql) and no server" in said
    assert "secret" not in said


def test_without_a_registry_or_a_port_that_is_said(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["registry", "ui", "--port", str(free_port())]) == 3
    assert "'tidegate train' registers a first version" in capsys.readouterr().err
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert run(["registry", "ui", "--port", str(port)]) == 7
    assert f"port {port} is taken" in capsys.readouterr().err
