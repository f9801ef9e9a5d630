"""The registry's aliases follow what is live on a cluster: the gate service's part of what a rollout's end is on one machine.

What counts is what clients reach and what passed everything: a release that is live but still in its bake is nobody's champion.
A note is kept before the registry is updated and removed after, and is shown on the cluster, so that what a registry that was
away does not have is known, and updated once it answers. Repeating it changes nothing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from tidegate.domain.errors import Conflict, NotFound, TidegateError
from tidegate.domain.release import SHORT, ReleaseManifest
from tidegate.files.release_folder import MODEL
from tidegate.ports.cluster_rollouts import UnderWay
from tidegate.ports.ledger import Ledger
from tidegate.ports.registry import ModelRegistry
from tidegate.registry.pending import PendingUpdates
from tidegate.registry.promotion import activate

logger = logging.getLogger("tidegate.gates")
SETTING = "gates.registry of the platform's chart"
RETRY_S = 30.0
COMPARE_S = 300.0  # between two comparisons while nothing changes: an alias may have been moved by hand


@dataclass
class ClusterAliases:
    """`release` gives the manifest of a digest; `show` says on the cluster what is due for a model, None for nothing."""

    registry: ModelRegistry
    ledger: Ledger
    release: Callable[[str], ReleaseManifest]
    pending: PendingUpdates
    show: Callable[[str, Mapping[str, Any] | None], None]
    clock: Callable[[], float] = time.monotonic
    _next: dict[str, tuple[str, float]] = field(default_factory=dict)  # by model: what was looked at, until when

    def follow(self, now: UnderWay) -> None:
        """Make the version of what is live the champion, if that is decided and due."""
        if now.live is None or now.live != now.previous:
            return
        known, until = self._next.get(now.model, ("", 0.0))
        if known == now.live and self.clock() < until:
            return
        wait = COMPARE_S if self._updated(now.model, now.live) else RETRY_S
        self._next[now.model] = now.live, self.clock() + wait

    def _updated(self, model: str, live: str) -> bool:
        release, version = f"{model}@{live[:SHORT]}", ""
        try:
            if self._next.get(model, ("",))[0] != live:
                self.pending.note(model, release, version, self.pending.reason(model))
            manifest = self.release(live)
            version = manifest.version
            self._require_same(manifest)
            activate(self.registry, self.ledger, model, version)
            self.pending.done(model)
            self.show(model, None)
        except TidegateError as error:
            if self.pending.reason(model) != str(error):
                logger.warning("the registry's aliases of %s do not follow yet: %s", model, error)
            self._due(model, release, version, str(error))
            return False
        return True

    def _due(self, model: str, release: str, version: str, reason: str) -> None:
        try:
            self.pending.note(model, release, version, reason)
            due = self.pending.due(model)
            self.show(model, asdict(due) if due else None)
        except TidegateError as error:
            logger.warning("what the registry does not have of %s cannot be shown: %s", model, error)

    def _require_same(self, manifest: ReleaseManifest) -> None:
        """Raises Conflict where the registry's version of that number is none, or of another model."""
        what = f"champion of {manifest.model}: version {manifest.version} is live as {manifest.id}, but the registry has"
        try:
            found = self.registry.get(manifest.model, manifest.version)
        except NotFound as error:
            raise Conflict(
                f"{what} no such version; register it there, or name the registry that it was trained into ({SETTING})"
            ) from error
        if found.artifact_digest != manifest.files.get(MODEL):
            raise Conflict(f"{what} another model under that number; name the registry that it was trained into ({SETTING})")
