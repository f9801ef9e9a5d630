"""A platform with the model `demand`, its registry, ledger and target in memory, and training outputs of its own."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from fakes.memory_registry import MemoryRegistry
from fakes.rollouts import FakeTarget
from tidegate.adapters.files.project_file import load_project
from tidegate.domain.project import Project
from tidegate.domain.release import ReleaseManifest
from tidegate.domain.slots import Desired, Slot
from tidegate.files.layout import StateFolder
from tidegate.gates.monitor_file import MonitorConfig, load_monitor
from tidegate.ledger.memory import MemoryLedger
from tidegate.ports.registry import OUTPUT_TAG, ModelVersion
from tidegate.registry.evidence import record_registration
from tidegate.registry.pending import PendingUpdates
from tidegate.registry.releases import ReleaseStore
from tidegate.rollout.state import RolloutStore

spec = importlib.util.spec_from_file_location("outputs", Path(__file__).parents[1] / "unit/registry/outputs.py")
outputs = importlib.util.module_from_spec(spec)
spec.loader.exec_module(outputs)
ROOT = Path(__file__).parents[2]


class World:
    """What `apps.versions` and `apps.reconcile` need of a platform."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.said = folder, []
        self.project: Project = replace(load_project(ROOT), state=self.folder / "state")
        self.state = StateFolder(self.project.state)
        self.registry = MemoryRegistry()
        self.ledger = MemoryLedger()
        self.target = FakeTarget()
        self.releases = ReleaseStore(self.state.releases)
        self.rollouts = RolloutStore(self.state.rollouts)
        self.pending = PendingUpdates(self.state.rollouts)
        self.progress = self.said.append

    def monitor(self, _: str) -> MonitorConfig:
        return load_monitor(ROOT / "monitoring/demand.yaml")

    def trained(self, champion: str | None = None, **scales: float) -> ModelVersion:
        """A registered version whose evaluation misses by `scales`; recorded as the platform does."""
        number = len(self.registry.versions("demand")) + 1
        folder = self.folder / f"output-{number}"
        outputs.write_output(folder, outputs.evaluation(**scales), champion)
        summary = json.loads((folder / "evaluation.json").read_bytes())
        summary["forecasts"]["model"]["wape"] = 0.75
        (folder / "evaluation.json").write_text(json.dumps(summary))
        lineage = {f"lineage.{name}": str(value) for name, value in json.loads((folder / "lineage.json").read_bytes()).items()}
        metrics = {f"{name}_{key}": v for name, values in summary["forecasts"].items() for key, v in values.items()}
        version = self.registry.register("demand", folder, metrics, lineage)
        record_registration(self.ledger, version)
        return version

    def from_before(self, version: ModelVersion) -> ModelVersion:
        """The version as one that was registered before there was a digest of its whole output."""
        self.registry.forget_tag("demand", version.version, OUTPUT_TAG)
        entries = [entry for entry in self.ledger.entries() if entry.action != "registration"]
        self.ledger = MemoryLedger()
        for entry in entries:
            body = {key: value for key, value in entry.body.items() if key != "output"}
            self.ledger.append(entry.action, entry.subject, body, entry.who)
        return self.registry.get("demand", version.version)

    def stored(self, version: ModelVersion) -> Path:
        return self.registry.output(version)

    def release(self, version: ModelVersion) -> ReleaseManifest:
        output = outputs.open_output(self.stored(version))
        return self.releases.build(output, version, self.folder / "none", {"slo": version.version}, {"features": {}})

    def live(self, manifest: ReleaseManifest) -> ReleaseManifest:
        """Make the release live, as nobody recorded it."""
        desired = Desired("demand", blue=manifest.digest, active=Slot.BLUE)
        self.target.wants["demand"] = desired
        return manifest

    def actions(self, name: str) -> list[Any]:
        return [entry for entry in self.ledger.entries() if entry.action == name]


def under_way(candidate: str, previous: str | None, switched: bool) -> Any:
    """Stands for a rollout that is not decided."""
    plan = SimpleNamespace(previous=previous)
    return SimpleNamespace(id="r1", candidate=candidate, plan=plan, switched=switched)
