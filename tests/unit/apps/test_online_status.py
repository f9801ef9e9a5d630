"""Status and metrics say how far the online rows were brought, and name a store that is not what was written."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from serving_builders import CONTRACT, build_release
from tidegate.adapters.packed.online import open_online_reader
from tidegate.adapters.packed.places import open_backend
from tidegate.adapters.packed.rows import ViewRows
from tidegate.apps.online_status import online_status
from tidegate.domain.errors import IntegrityError, Unavailable
from tidegate.files.feature_folder import FeatureFolder, feature_folder
from tidegate.files.release_folder import read_manifest
from tidegate.serving.runtime.feature_metrics import FeatureMetrics

SEPTEMBER = int(datetime(2011, 9, 1, tzinfo=UTC).timestamp()) * 1_000_000
DAY_US = 86_400_000_000


@pytest.fixture
def folder(tmp_path: Path) -> FeatureFolder:
    return feature_folder(tmp_path / "state", "demand")


@pytest.fixture
def status(tmp_path: Path, folder: FeatureFolder) -> Callable[[], dict[str, Any] | None]:
    release = build_release(tmp_path / "releases")
    platform = SimpleNamespace(
        project=SimpleNamespace(local=SimpleNamespace(online_store="sqlite")),
        releases=SimpleNamespace(folder=lambda _: release),
        feature_folder=lambda _: folder,
        clock=time.time,
    )
    return lambda: online_status(platform, read_manifest(release))  # type: ignore[arg-type]


def materialize(folder: FeatureFolder, until: int) -> None:
    rows = {
        view: ViewRows(tuple(names), ("S1", "S2"), np.full(2, until), np.ones((2, len(names))), until)
        for view, names in CONTRACT.stored.items()
    }
    backend = open_backend(folder.online_address(), writable=True)
    backend.write(rows, replace=True)
    backend.close()


def test_status_says_until_when_the_rows_know_everything(
    folder: FeatureFolder, status: Callable[[], dict[str, Any] | None]
) -> None:
    with pytest.raises(Unavailable, match="does not exist"):
        status()
    materialize(folder, SEPTEMBER)
    found = status()
    assert found is not None
    assert (found["until"], found["rows"]) == ("2011-09-01T00:00:00+00:00", 2)
    old = folder.online_db.read_bytes()
    materialize(folder, SEPTEMBER + DAY_US)
    folder.online_db.write_bytes(old)
    with pytest.raises(IntegrityError, match="older than its watermark"):
        status()


def test_a_slots_metrics_give_the_age_of_its_rows(folder: FeatureFolder) -> None:
    materialize(folder, SEPTEMBER)
    reader = open_online_reader(folder.online_address(), CONTRACT)
    registry = CollectorRegistry()
    hours = 3.0
    metrics = FeatureMetrics(
        reader.watermark, {"demand": 7200.0}, lambda: {"demand": 3}, clock=lambda: time.time() + 3600 * hours
    )
    registry.register(metrics)
    assert b"timestamp_seconds{" not in generate_latest(registry)  # nothing was looked at yet
    reader.ping()
    view = next(iter(CONTRACT.stored))
    until = "tidegate_features_until_timestamp_seconds"
    assert registry.get_sample_value(until, {"view": view}) == SEPTEMBER / 1e6
    age = registry.get_sample_value("tidegate_features_age_seconds", {"view": view})
    assert age is not None
    assert 3600 * hours <= age < 3600 * (hours + 1)
    assert registry.get_sample_value("tidegate_features_ttl_seconds", {"view": "demand"}) == 7200
    assert registry.get_sample_value("tidegate_features_expired_rows_total", {"view": "demand"}) == 3
    assert registry.get_sample_value("tidegate_features_rows", {"view": view}) == 2
    materialize(folder, SEPTEMBER + DAY_US)
    reader.ping()
    assert registry.get_sample_value(until, {"view": view}) == SEPTEMBER / 1e6 + 86400
