"""Follows the rollouts of a cluster: what happened goes into the ledger, and mirroring is on while it is wanted.

One look after the other, each compared with the one before, which is kept on disk: what happened while nobody looked is
recorded at the next look, as the difference that it made. Looking again at the same changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tidegate.domain.durable_files import replace_durably
from tidegate.domain.release import SHORT
from tidegate.ports.cluster_rollouts import ClusterRollouts, UnderWay
from tidegate.ports.ledger import Ledger

Entry = tuple[str, str, dict[str, Any], str]  # action, subject, body, actor


def happened(before: Mapping[str, Any] | None, now: UnderWay) -> list[Entry]:
    """Ledger entries for the difference between the last look (as JSON, None for the first) and this one."""
    was = before or {}

    def named(digest: str | None) -> str:
        return f"{now.model}@{digest[:SHORT]}" if digest else "nothing"

    entries: list[Entry] = []

    def add(action: str, message: str, actor: str = "tidegate", **more: Any) -> None:
        subject = now.model if action in ("freeze", "unfreeze") else named(now.candidate)
        entries.append((action, subject, {"message": message, "target": "kubernetes", **more}, actor))

    begun = was.get("candidate") != now.candidate
    if begun:
        add("rollout.start", f"rollout of {named(now.candidate)}, live is {named(now.live)}", previous=now.previous)
    if now.hold != was.get("hold"):
        order = now.hold or {}
        person = str((order or was.get("hold") or {}).get("actor", "tidegate"))
        about = {name: value for name, value in order.items() if name != "actor"}
        add("freeze" if now.hold else "unfreeze", str(order.get("reason", "the hold was taken away")), person, **about)
    for kind, order in now.orders.items():
        if begun or order != was.get("orders", {}).get(kind):
            about = {name: value for name, value in order.items() if name not in ("actor", "reason")}
            add(kind, str(order["reason"]), str(order["actor"]), **about)
    if now.live != was.get("live") and before is not None:
        back = not now.switched
        action = "rollout.rollback" if back else "rollout.switch"
        add(action, f"clients reach {named(now.live)}, before {named(was.get('live'))}")
    if now.stopped and (begun or now.stopped != was.get("stopped")):
        add("rollout.stop", now.stopped)
    if now.done and (begun or was.get("previous") != now.candidate):
        add("rollout.done", f"{named(now.candidate)} is live and passed everything")
    return entries


@dataclass(frozen=True)
class ClusterWatch:
    """`seen` is a folder for the last look at each model; `finish` is told when a release has passed everything."""

    rollouts: ClusterRollouts
    ledger: Ledger
    seen: Path
    finish: Callable[[UnderWay], None] = lambda _: None

    def look(self, model: str) -> UnderWay:
        """Raises NotFound or Unavailable, and has then changed nothing that the next look does not do again."""
        now = self.rollouts.under_way(model)
        self.rollouts.mirror(model, now.mirrors)
        path = self.seen / f"{model}.json"
        before = json.loads(path.read_bytes()) if path.is_file() else None
        entries = happened(before, now)
        for action, subject, body, actor in entries:
            self.ledger.append(action, subject, body, actor)
        if any(action == "rollout.done" for action, *_ in entries):
            self.finish(now)
        kept = asdict(now) | {"judged_since": None}
        if before != kept:
            replace_durably(path, json.dumps(kept).encode())
        return now
