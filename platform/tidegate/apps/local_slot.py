"""The settings of a slot of the local target: on loopback, with the project's online store, logs and trusted keys."""

from __future__ import annotations

from pathlib import Path

from tidegate.apps.features import open_features
from tidegate.apps.slot_settings import SlotSettings
from tidegate.apps.trust import trusted_keys
from tidegate.domain.project import Project
from tidegate.files.layout import StateFolder


def local_slot(project: Project, release: Path, model: str, slot: str, port: int, replica: int = 0) -> SlotSettings:
    """`release` is the release's folder."""
    return SlotSettings(
        release_folder=release,
        model=model,
        slot=slot,
        replica=replica,
        port=port,
        online=open_features(project, model).online_address(project.local.online_store),
        log_dir=StateFolder(project.state).logs,
        body_limit=project.model(model).body_limit,
        trusted_keys=tuple(str(key) for key in trusted_keys(project)),
    )
