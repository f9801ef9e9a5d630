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

from tidegate.domain.actor import KEYS as NAMING
from tidegate.domain.actor import PLATFORM, UNKNOWN, Actor, named_in
from tidegate.domain.release import SHORT
from tidegate.files.durable_files import replace_durably
from tidegate.ports.cluster_rollouts import ClusterRollouts, UnderWay
from tidegate.ports.ledger import Ledger

Entry = tuple[str, str, dict[str, Any], Actor]  # action, subject, body, who did it


def happened(before: Mapping[str, Any] | None, now: UnderWay) -> list[Entry]:
    """Ledger entries for the difference between the last look (as JSON, None for the first) and this one."""
    was = before or {}

    def named(digest: str | None) -> str:
        return f"{now.model}@{digest[:SHORT]}" if digest else "nothing"

    entries: list[Entry] = []

    def add(action: str, message: str, actor: Actor = PLATFORM, subject: str = "", **more: Any) -> None:
        body = {"message": message, "target": "kubernetes", **more}
        entries.append((action, subject or named(now.candidate), body, actor))

    known = {order["id"] for order in was.get("orders", ())}
    ordered = [order for order in now.orders if order["id"] not in known]
    for order in ordered:
        about = {name: value for name, value in order.items() if name not in ("order", *NAMING)}
        subject = named(order["release"]) if order.get("release") else now.model
        add(str(order["order"]), str(order["reason"]), named_in(order), subject, **about)
    if now.hold != was.get("hold") and not any(order["order"] in ("freeze", "unfreeze") for order in ordered):
        hold = now.hold or {"actor": UNKNOWN.name, "reason": "the hold was taken away"}  # by hand, without an order of ours
        add("freeze" if now.hold else "unfreeze", str(hold["reason"]), named_in(hold), now.model)
    begun = was.get("candidate") != now.candidate
    if begun:
        add("rollout.start", f"rollout of {named(now.candidate)}, live is {named(now.live)}", previous=now.previous)
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
        kept = path.read_bytes() if path.is_file() else b"null"
        entries = happened(json.loads(kept), now)
        for action, subject, body, actor in entries:
            self.ledger.append(action, subject, body, actor)
        if any(action == "rollout.done" for action, *_ in entries):
            self.finish(now)
        seen = json.dumps(asdict(now) | {"judged_since": None}).encode()
        if seen != kept:
            replace_durably(path, seen)
        return now
