"""What a state folder has that only a ledger could have let through: a ledger that does not know it is not the one that did."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tidegate.ports.ledger import Entry

STARTED = "rollout.start"
SHOWN = 3


def started(entry: Entry) -> str | None:
    """The id of the rollout whose start the entry records; None for another entry."""
    rollout = entry.body.get("rollout") if entry.action == STARTED else None
    return None if rollout is None else str(rollout)


def unrecorded(rollouts: Sequence[str], is_known: Callable[[str], bool]) -> str:
    """Which of the rollouts (ids) the ledger does not know, as a sentence; empty where it knows all. A rollout is recorded
    before it begins."""
    missing = sorted(rollout for rollout in set(rollouts) if not is_known(rollout))
    if not missing:
        return ""
    return f"it does not know {_named(missing)} of this state folder: it was replaced, or begun anew"


def absent(rollouts: Sequence[str]) -> str:
    """What to say of a ledger that is not there; empty where there is nothing that it should know."""
    return f"there is none, and this state folder has {_named(sorted(rollouts))}: it was taken away" if rollouts else ""


def _named(rollouts: Sequence[str]) -> str:
    more = f" and {len(rollouts) - SHOWN} more" if len(rollouts) > SHOWN else ""
    return f"rollout{'s' if len(rollouts) > 1 else ''} {', '.join(rollouts[:SHOWN])}{more}"
