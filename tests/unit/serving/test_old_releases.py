"""Releases of older commits open, verify, load, predict to the bit and are judged."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from golden.archives import RELEASES
from tidegate.adapters.onnx.session import open_onnx
from tidegate.domain.datatypes import FEATURES
from tidegate.domain.digests import canonical_json
from tidegate.domain.errors import IntegrityError
from tidegate.domain.release import ReleaseManifest
from tidegate.files.digests import file_digest
from tidegate.files.release_folder import MANIFEST, MONITOR, read_manifest, verified_bytes, verify_release
from tidegate.gates.drift_check import read_profile
from tidegate.gates.monitor_file import monitor_of
from tidegate.serving.runtime.release_loader import load_release
from tidegate.serving.runtime.vectors import stored_names

OLD = sorted(RELEASES.iterdir())

GATE_KEYS = ("on_fail", "timeout_seconds", "min_seconds")  # beside the rules of a gate


@pytest.fixture(params=OLD, ids=lambda folder: folder.name[:12])
def old(request: pytest.FixtureRequest) -> Path:
    folder: Path = request.param
    return folder


def test_it_verifies_and_predicts_what_it_predicted_when_it_was_built(old: Path) -> None:
    manifest = verify_release(old)
    assert manifest.digest == hashlib.sha256((old / MANIFEST).read_bytes()).hexdigest() == old.name
    release = load_release(old, open_onnx)
    reference = read_profile(old, manifest).reference
    vectors = reference.select(pl.col(name).cast(pl.Float32) for name in release.contract.vector).to_numpy()
    outputs = release.model.run({FEATURES: np.ascontiguousarray(vectors)})
    np.testing.assert_allclose(outputs["quantiles"], reference.select("q10", "q50", "q90").to_numpy(), rtol=1e-6)


def test_its_on_demand_code_runs_from_the_verified_bytes(old: Path) -> None:
    release = load_release(old, open_onnx)
    assert release.on_demand is not None
    contract = release.contract
    inputs = {name: np.ones(2) for name in (*stored_names(contract), *contract.request)}
    derived = release.on_demand({**inputs, "event_timestamp": np.full(2, 1_307_318_400_000_000)})
    assert set(contract.derived) <= set(derived)


def test_its_rules_and_thresholds_are_read(old: Path) -> None:
    manifest = read_manifest(old)
    written = json.loads(verified_bytes(old, manifest, MONITOR))
    config = monitor_of(old, manifest)
    read = config.to_json()
    asked = {each.name: {**each.rules, **{key: getattr(each, key) for key in GATE_KEYS}} for each in config.gates}
    assert _within(written, {**read, "gates": asked}) == written
    assert [(each.name, each.kind, each.stage) for each in config.gates] == [
        ("parity", "parity", "verify"),
        ("shadow", "shadow", "shadow"),
        ("drift", "drift", "shadow"),
        ("bake", "bake", "bake"),
    ]
    assert set(read_profile(old, manifest).thresholds.features) <= set(load_release(old, open_onnx).contract.vector)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"gates": {"cost": {"on_fail": "rollback", "limit": 1}}}, "'gates.cost', which this Tidegate does not know"),
        ({"gates": {"bake": {"max_cost": 1}}}, "'gates.bake.max_cost', which this Tidegate does not know"),
        ({"schema": 9}, "has schema 9, this Tidegate reads at most"),
    ],
)
def test_a_rule_of_a_later_version_is_not_left_out(old: Path, tmp_path: Path, change: dict[str, Any], said: str) -> None:
    folder = with_monitor(old, tmp_path, change)
    with pytest.raises(IntegrityError, match=said):
        monitor_of(folder, verify_release(folder))


def with_monitor(old: Path, into: Path, change: dict[str, Any]) -> Path:
    """The release with other rules, and a manifest that lists them."""
    draft = into / "draft"
    shutil.copytree(old, draft)
    rules = json.loads((draft / MONITOR).read_bytes())
    (draft / MONITOR).write_bytes(canonical_json(_merged(rules, change)))
    manifest = json.loads((draft / MANIFEST).read_bytes())
    manifest["files"][MONITOR] = file_digest(draft / MONITOR)
    (draft / MANIFEST).write_bytes(canonical_json(manifest))
    return draft.rename(into / ReleaseManifest.from_bytes(canonical_json(manifest), "test").digest)


def _merged(value: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    more = {key: _merged(value[key], part) if isinstance(value.get(key), dict) else part for key, part in change.items()}
    return {**value, **more}


def _within(written: dict[str, Any], read: dict[str, Any]) -> dict[str, Any]:
    """What was read, of the keys that were written."""
    return {key: _within(part, read[key]) if isinstance(part, dict) else read[key] for key, part in written.items()}
