"""What every story does with the platform: a fresh folder, a version made a release, a release rolled out to its end."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from tidegate.apps.platform import Platform
from tidegate.domain.errors import TidegateError
from tidegate.domain.project import Project
from tidegate.domain.release import ReleaseManifest
from tidegate.ports.delivery import UNCHANGED, Delivery, RolloutView, Say

MARKER = "demo.marker"


class UnexpectedEnding(TidegateError):
    """The story did not go as the platform promises: a defect of the platform, not of the reader."""

    exit_code = 1


def fresh_folder(folder: Path, earlier: Callable[[], Project]) -> None:
    """Make the folder anew, after stopping what an earlier run of the project left running there."""
    ours = (folder / MARKER).exists()
    if folder.exists() and any(folder.iterdir()) and not ours:
        raise TidegateError(f"the demo needs a folder of its own, {folder} holds other files; name another with --folder")
    if ours:
        if (folder / "state").exists():
            Platform(earlier()).down()
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    (folder / MARKER).write_text(json.dumps({"begun": time.time()}))


def make_release(
    platform: Platform, model: str, until: datetime, sources: Mapping[str, Sequence[Path]] | None = None
) -> tuple[ReleaseManifest, str]:
    """A version trained on what was known at `until`, promoted, as a release; and the sentence that says so."""
    version = platform.train(model, until, sources=sources)
    promotion = platform.promote(model, version.version)
    if not promotion.opens:
        refused = "; ".join(result.describe() for result in promotion.results if not result.verdict.opens)
        raise UnexpectedEnding(f"promotion of {model}/{version.version}: {refused}")
    manifest = platform.build_release(model, version.version)
    gates = ", ".join(result.gate for result in promotion.results)
    told = f"Version {version.version}, trained until {until:%d %B %Y}, passed {gates}; release {manifest.id}."
    return manifest, told


def roll_out(delivery: Delivery, model: str, release: str, label: str, ending: str, say: Say) -> tuple[RolloutView, str]:
    """A rollout that ends as `ending` says, or UnexpectedEnding; and the sentence that says so."""
    rollout = delivery.start(model, release, delivery.whoami().claiming("demo"), {}, None, say)
    if rollout.status == UNCHANGED:
        raise UnexpectedEnding(f"release {release} ({label}) is live already: it is the same as the one before")
    ended = delivery.follow(model, rollout.id, say).rollout
    if ended is None or ended.status != ending:
        status, reason = (ended.status, ended.reason) if ended else ("nowhere", "there is no rollout")
        raise UnexpectedEnding(
            f"rollout of {release} ({label}) ended {status}: {reason}; it should have ended {ending}; "
            f"'tidegate rollout status {model}' shows its gates"
        )
    return ended, f"{release} ({label}) {ending.replace('_', ' ').lower()}{': ' if ended.reason else ''}{ended.reason}."
