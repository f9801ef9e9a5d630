"""A project of empty files, and its state in a folder of the test."""

from __future__ import annotations

from pathlib import Path

import pytest

PROJECT = """\
apiVersion: tidegate/v1
project: shop
models:
  demand:
    ingest: ingest.py
    sources: [one.parquet]
    features: {repo: features, service: demand}
    pipeline: pipeline.py
    serving: serving
    monitor: monitor.yaml
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("ingest.py", "one.parquet", "features/x.py", "pipeline.py", "serving/s.py", "monitor.yaml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "tidegate.yaml").write_text(PROJECT)
    monkeypatch.setenv("TIDEGATE_STATE", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    return tmp_path
