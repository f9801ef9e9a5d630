"""The registry on a server of MLflow's, as people run it: Postgres behind it, artifacts in an S3 store. All three are real."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from postgres_server import postgres
from slot_process import free_port
from tensor_models import CASES
from tidegate.adapters.mlflow.registry import MlflowModelRegistry
from tidegate.domain.errors import IntegrityError, NotFound, Unavailable
from tidegate.files.release_folder import CONTRACT, MODEL
from tidegate.registry.promotion import CHAMPION

pytestmark = pytest.mark.slow
KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}


@contextmanager
def running(command: list[str], url: str, environment: dict[str, str], log: Path) -> Iterator[None]:
    """A server, from its first answer until the end of the block."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment, start_new_session=True)
    try:
        for _ in range(1200):
            assert process.poll() is None, log.read_text()[-2000:]
            try:
                urllib.request.urlopen(url, timeout=2).close()  # noqa: S310 (loopback)
                break
            except OSError:
                time.sleep(0.1)
        else:
            raise AssertionError(log.read_text()[-2000:])
        yield
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the MLflow server."""
    import boto3

    folder = tmp_path_factory.mktemp("remote")
    store, mlflow = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
    environment = {**os.environ, **KEYS, "MLFLOW_S3_ENDPOINT_URL": store, "MLFLOW_DISABLE_TELEMETRY": "true"}
    with ExitStack() as stack:
        database = stack.enter_context(postgres(free_port()))
        s3 = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", store.rpartition(":")[2]]
        stack.enter_context(running(s3, store, environment, folder / "s3.log"))
        boto3.client("s3", endpoint_url=store, **{k.lower(): v for k, v in KEYS.items() if "REGION" not in k}).create_bucket(
            Bucket="models"
        )
        command = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--host", "127.0.0.1"]
        command += ["--port", mlflow.rpartition(":")[2], "--backend-store-uri", database]
        command += ["--artifacts-destination", "s3://models/tidegate", "--serve-artifacts"]
        stack.enter_context(running(command, f"{mlflow}/health", environment, folder / "mlflow.log"))
        yield mlflow


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("output")
    onnx = CASES["raw features of a model that has no store"].onnx
    for name, content in ((MODEL, onnx), (CONTRACT, b"{}"), ("card.md", b"# A card\n")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server's first request imports what reaches its store, beside other tests."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "120")


def test_versions_aliases_and_artifacts_live_on_the_server(
    server: str, output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    registry = MlflowModelRegistry(tmp_path / "mlflow")
    assert registry.versions("demand") == []
    one = registry.register("demand", output, {"model_loss": 0.8}, {"kind": "test"})
    two = registry.register("demand", output, {"model_loss": 0.7}, {})
    registry.set_alias("demand", CHAMPION, two.version)
    elsewhere = MlflowModelRegistry(tmp_path / "another machine")
    assert [v.version for v in elsewhere.versions("demand")] == [one.version, two.version]
    assert elsewhere.get("demand", CHAMPION).metrics["model_loss"] == 0.7
    fetched = elsewhere.fetch(two, tmp_path / "fetched")
    assert (fetched / MODEL).read_bytes() == (output / MODEL).read_bytes()
    assert not (tmp_path / "mlflow").exists()  # nothing is kept beside the server
    with pytest.raises(NotFound):
        elsewhere.get("demand", "9")


def test_an_artifact_that_was_changed_in_the_store_is_refused(
    server: str, output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    registry, changed = MlflowModelRegistry(tmp_path / "mlflow"), tmp_path / "changed"
    shutil.copytree(output, changed)
    version = registry.register("returns", changed, {}, {})
    (changed / "card.md").write_text("# Another card\n")
    registry._client.log_artifact(version.run_id, str(changed / "card.md"), "output")
    with pytest.raises(IntegrityError, match="training output has digest"):
        registry.fetch(version, tmp_path / "fetched")


def test_a_server_that_is_away_is_said_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(Unavailable, match=r"MLflow at http://127\.0\.0\.1:9"):
        MlflowModelRegistry(tmp_path / "mlflow").versions("demand")
