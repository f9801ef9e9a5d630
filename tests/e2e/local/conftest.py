"""A project on free ports whose slots are fake servers, with real Envoy and a real supervisor."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from story import eventually, free_ports
from tidegate.adapters.files.project_file import project_with_state
from tidegate.adapters.machine.local_target import LocalTarget
from tidegate.apps import supervision
from tidegate.domain.errors import Unavailable
from tidegate.domain.local import LocalConfig
from tidegate.domain.project import Project
from tidegate.domain.slots import Desired, Slot

FAKES = Path(__file__).parents[2] / "fakes"
PLATFORM = Path(__file__).parents[3] / "platform"
COMMAND = "slot_server:command"


def write_project(folder: Path, gateway: int, admin: int, slots: int) -> Path:
    for name in ("ingest.py", "pipeline.py", "monitor.yaml", "source.csv"):
        (folder / name).write_text("")
    for name in ("features", "serving"):
        (folder / name).mkdir(exist_ok=True)
    file = folder / "tidegate.yaml"
    file.write_text(f"""apiVersion: tidegate/v1
project: fixture
stateDir: state
models:
  demand:
    ingest: ingest.py
    sources: [source.csv]
    features: {{repo: features, service: demand}}
    pipeline: pipeline.py
    serving: serving
    monitor: monitor.yaml
targets:
  local: {{gatewayPort: {gateway}, adminPort: {admin}, slotPorts: {slots}, replicas: 2}}
""")
    return file


class Platform:
    """A running supervisor and what a test asks of it."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.target = LocalTarget(project.state, LocalConfig.of(project))
        self.url = self.target.gateway_url

    eventually = staticmethod(eventually)

    def up(self) -> int:
        return supervision.ensure_supervisor(self.project, supervision.Parts(COMMAND))

    def want(self, **changes: object) -> Desired:
        desired = self.target.desired("demand")
        return self.target.set_desired(replace(desired, **changes), desired.generation)  # type: ignore[arg-type]

    def ready(self, slot: Slot, release: str) -> None:
        def is_ready() -> bool:
            try:
                status = self.target.slots("demand")[slot]
            except Unavailable:
                return False  # a supervisor that was killed is not back yet
            return status.release == release and status.wanted == status.ready == 2

        eventually(is_ready)

    def stage(self, slot: Slot, release: str) -> None:
        self.want(**{str(slot): release})
        self.ready(slot, release)

    def activate(self, slot: Slot, mirror: bool = False) -> None:
        self.want(active=slot, mirror=mirror)
        eventually(lambda: self.target.routed("demand") == (slot, mirror))

    def processes(self) -> list[psutil.Process]:
        """All processes of this state folder, however they came to be."""
        found = []
        for process in psutil.process_iter():
            try:
                if (
                    process.status() != psutil.STATUS_ZOMBIE
                    and any(str(self.project.state) in part for part in process.cmdline())
                ) or str(self.project.state) in process.environ().get("TIDEGATE_PROCESS", ""):
                    found.append(process)
            except psutil.Error:
                continue
        return [p for p in found if p.pid != os.getpid()]

    def pid_of(self, kind: str) -> int:
        from tidegate.adapters.machine.local_processes import read_records

        return next(r.pid for r in read_records(self.target.state.pids) if r.labels.get("kind") == kind)


@pytest.fixture
def platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Platform]:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(PLATFORM), str(FAKES)]))
    monkeypatch.delenv("TIDEGATE_STATE", raising=False)
    project = project_with_state(write_project(tmp_path, *free_ports().values()), None)
    running = Platform(project)
    try:
        yield running
    finally:
        supervision.stop_supervisor(project)
        for process in running.processes():
            process.kill()
