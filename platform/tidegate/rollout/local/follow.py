"""Watching a rollout from its record: what happens to it does not depend on anyone watching."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tidegate.rollout.state import Rollout, RolloutStore, Status


def events(
    store: RolloutStore, model: str, id: str, sleep: Callable[[float], None] = time.sleep, pause: float = 0.1
) -> Iterator[Mapping[str, Any]]:
    """The entries of the record's history as they come, until the rollout ends or freezes."""
    seen = 0
    while True:
        rollout = store.load(model, id)
        yield from rollout.history[seen:]
        seen = len(rollout.history)
        if settled(rollout):
            return
        sleep(pause)


def settled(rollout: Rollout) -> bool:
    """Whether the record will not change without a person: it ended, or it is frozen with nothing left to do."""
    return rollout.status.terminal or (rollout.status is Status.FROZEN and not rollout.undo and not rollout.request)


def follow(
    store: RolloutStore,
    model: str,
    id: str,
    say: Callable[[Mapping[str, Any]], None],
    sleep: Callable[[float], None] = time.sleep,
) -> Rollout:
    """Say every event until the rollout settles; returns its record. Ctrl-C stops the watching alone.

    A verdict and what it led to carry the same words; they are said once.
    """
    said = ""
    try:
        for event in events(store, model, id, sleep):
            if event["message"] != said:
                say(event)
            said = event["message"]
    except KeyboardInterrupt:
        message = f"rollout {id} goes on without this command; the same command again follows it"
        say({"at": time.time(), "stage": "", "event": "left", "message": message})
    return store.load(model, id)
