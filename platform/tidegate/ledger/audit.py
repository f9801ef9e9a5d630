"""What a state folder has that only a ledger could have let through: a ledger that does not know it is not the one that did."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tidegate.ports.ledger import Entry

STARTED = "rollout.start"
SHOWN = 3


def unrecorded(rollouts: Sequence[str], entries: Iterable[Entry]) -> str:
    """Which of the rollouts (ids) the ledger does not know, as a sentence; empty where it knows all. A rollout is recorded
    before it begins."""
    known = {entry.body.get("rollout") for entry in entries if entry.action == STARTED}
    missing = sorted(set(rollouts) - known)
    if not missing:
        return ""
    return f"it does not know {_named(missing)} of this state folder: it was replaced, or begun anew"


def absent(rollouts: Sequence[str]) -> str:
    """What to say of a ledger that is not there; empty where there is nothing that it should know."""
    return f"there is none, and this state folder has {_named(sorted(rollouts))}: it was taken away" if rollouts else ""


def _named(rollouts: Sequence[str]) -> str:
    more = f" and {len(rollouts) - SHOWN} more" if len(rollouts) > SHOWN else ""
    return f"rollout{'s' if len(rollouts) > 1 else ''} {', '.join(rollouts[:SHOWN])}{more}"
