"""A project opened on its state folder: its adapters and stores, each made when it is first used."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from tidegate.adapters.vendor_imports import TELEMETRY_OFF
from tidegate.apps import wiring
from tidegate.domain.project import Project
from tidegate.files.feature_folder import FeatureFolder
from tidegate.files.layout import StateFolder
from tidegate.files.private_folder import keep_private

if TYPE_CHECKING:
    from tidegate.adapters.feast.features import FeastFeatureStore
    from tidegate.adapters.files.ledger_file import FileLedger
    from tidegate.adapters.machine.local_target import LocalTarget
    from tidegate.apps.guard import Guard
    from tidegate.domain.actor import Actor
    from tidegate.domain.clocks import SteadyClock
    from tidegate.gates.monitor_file import MonitorConfig
    from tidegate.ports.registry import ModelRegistry
    from tidegate.registry.pending import PendingUpdates
    from tidegate.registry.releases import ReleaseStore
    from tidegate.rollout.state import RolloutStore
    from tidegate.serving.records import InferenceLogFiles

Progress = Callable[[str], None]


class OpenedProject:
    """One project on one state folder. `progress` is told what is being done."""

    def __init__(self, project: Project, progress: Progress | None = None) -> None:
        self.project = project
        self.progress: Progress = progress or (lambda _: None)
        self.open_to_others = keep_private(project.state)
        self.state = StateFolder(project.state)
        quiet_vendors(self.state.logs)

    @cached_property
    def ledger(self) -> FileLedger:
        return wiring.ledger(self.project)

    @cached_property
    def whoami(self) -> Actor:
        """Who runs this process on this machine."""
        return wiring.login()

    @cached_property
    def guard(self) -> Guard:
        from tidegate.apps.guard import Guard

        return Guard(self.project.access, self.ledger)

    def ledger_remarks(self, model: str) -> list[str]:
        """What people should know of the ledger, and of what of the model waits for it."""
        from tidegate.apps.trust import ledger_remarks

        return ledger_remarks(self.project, [model])

    @cached_property
    def registry(self) -> ModelRegistry:
        return wiring.registry(self.project)

    @cached_property
    def clock(self) -> SteadyClock:
        """What rollouts and records are dated by."""
        from tidegate.rollout.state_clock import state_clock

        return state_clock(self.state)

    @cached_property
    def pending(self) -> PendingUpdates:
        from tidegate.registry.pending import PendingUpdates

        return PendingUpdates(self.state.rollouts)

    @cached_property
    def releases(self) -> ReleaseStore:
        from tidegate.registry.releases import ReleaseStore

        return ReleaseStore(self.state.releases)

    @cached_property
    def target(self) -> LocalTarget:
        return wiring.local_target(self.project)

    @cached_property
    def rollouts(self) -> RolloutStore:
        from tidegate.rollout.state import RolloutStore

        return RolloutStore(self.state.rollouts)

    def feature_store(self, model: str) -> FeastFeatureStore:
        from tidegate.apps.features import feature_store

        return feature_store(self.project, model)

    def feature_folder(self, model: str) -> FeatureFolder:
        from tidegate.apps.features import open_features

        return open_features(self.project, model)

    def records(self, model: str) -> InferenceLogFiles:
        return wiring.inference_log(self.project, model)

    def monitor(self, model: str) -> MonitorConfig:
        from tidegate.gates.monitor_file import load_monitor

        return load_monitor(self.project.model(model).monitor)


class VendorsLog(logging.FileHandler):
    """Made with its folder when something is logged: looking makes nothing. What a full or read-only disk does not take is not
    worth ending a command for."""

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError):
            Path(self.baseFilename).parent.mkdir(parents=True, exist_ok=True)
            super().emit(record)


def quiet_vendors(logs: Path) -> None:
    """Vendors' log records and warnings go to the log file, and their telemetry is off."""
    for name, value in TELEMETRY_OFF.items():
        os.environ.setdefault(name, value)
    root = logging.getLogger()
    if root.handlers:
        return  # whoever runs us has set logging up
    handler = VendorsLog(logs / "tidegate.log", encoding="utf-8", delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.captureWarnings(True)
    logging.raiseExceptions = False  # a log that cannot be written is no reason to show a traceback
    warnings.simplefilter("ignore", ResourceWarning)
