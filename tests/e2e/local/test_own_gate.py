"""A gate of a project's own, run by the real controller from the release's bytes, stops one candidate and passes another."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fakes.rollouts import manifest
from release_signing import sign_release
from tidegate.apps import rollouts, supervision, wiring
from tidegate.apps.rollouts import rollout_config
from tidegate.domain.actor import Actor
from tidegate.domain.digests import canonical_json
from tidegate.domain.release import ReleaseManifest
from tidegate.files.release_folder import MONITOR
from tidegate.gates.monitor_file import load_monitor, monitor_of
from tidegate.rollout.state import Status

pytestmark = pytest.mark.e2e
ROOT = Path(__file__).parents[3]
FILE = "gates/known.py"
GATE = """
from dataclasses import dataclass
from tidegate.api.gates import Evidence, Verdict

@dataclass(frozen=True)
class Rules:
    versions: tuple[str, ...] = ()

def judge(case, rules):
    traffic = case.candidate_traffic()
    known = case.candidate.version in rules.versions
    return (Verdict.PASS if known else Verdict.FAIL), Evidence(f"known is {known}, counters {traffic is not None}", 1)
"""


OWN = {"kind": f"./{FILE}", "timeout_seconds": 60, "rules": {"versions": ["1", "2"]}}
BEFORE = {"name": "known", "stage": "verify", **OWN}
AFTER = {"name": "known-after", "stage": "bake", "min_seconds": 0.5, **OWN}


def release(platform, version: str, after: Mapping[str, Any] = AFTER) -> ReleaseManifest:
    """A signed release whose list has a gate of its own before the switch, and the same after it."""
    monitor = load_monitor(ROOT / "monitoring/demand.yaml").to_json()
    monitor["gates"] = [BEFORE, dict(after)]
    files = {MONITOR: canonical_json({"schema": 2, **monitor}), FILE: GATE.encode()}
    made = replace(manifest(version), files={name: hashlib.sha256(content).hexdigest() for name, content in files.items()})
    folder = platform.target.state.release(made.digest)
    for name, content in {"manifest.json": made.to_bytes(), **files}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    sign_release(folder)
    return made


def start(platform, made: ReleaseManifest) -> str:
    config = rollout_config(monitor_of(platform.target.state.release(made.digest), made))
    return rollouts.open_orders(platform.project, Actor("ada")).start(made, config).id


def test_a_candidate_goes_live_by_a_pass_of_its_own_gate_alone(platform) -> None:
    supervision.ensure_supervisor(
        platform.project, supervision.Parts("slot_server:command", rollouts.GATES, "fixed_gates:finish")
    )
    store = rollouts.open_store(platform.project)
    releases = {version: release(platform, version) for version in ("1", "unknown", "2")}
    ended = {}
    for version, made in releases.items():
        id = start(platform, made)
        platform.eventually(lambda id=id: store.load("demand", id).status.terminal)
        ended[version] = store.load("demand", id)
    assert {version: each.status for version, each in ended.items()} == {
        "1": Status.DONE,
        "unknown": Status.ROLLED_BACK,
        "2": Status.DONE,
    }
    assert "known is False, counters True" in ended["unknown"].reason
    assert ended["2"].gates["known-after"]["verdict"] == "PASS"
    assert platform.target.desired("demand").active_release == releases["2"].digest
    assert wiring.ledger(platform.project).verify().ok
