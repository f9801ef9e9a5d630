"""What a model's rollouts came to, as a way back needs it: by their records, and by the ledger for those that cannot be read.

A record that cannot be read may be that of a rollback, whose release must not be gone back to, or of the last good release. The
ledger has when a rollout started, switched, ended and was taken back, and so knows what was live before each.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from tidegate.domain.errors import Conflict, TidegateError
from tidegate.ports.ledger import Entry, Ledger, Query
from tidegate.rollout.plan import SHORT
from tidegate.rollout.state import Rollout, RolloutStore, Status

START, SWITCH, DONE, BACK = "rollout.start", "rollout.switch", "rollout.done", "rollout.rolled_back"


@dataclass(frozen=True)
class Past:
    """One rollout. Releases are digests, or the beginnings of digests that ids of releases have."""

    id: str
    candidate: str
    previous: str | None
    kind: str
    status: Status
    switched: bool
    by: str
    why: str

    @classmethod
    def of(cls, rollout: Rollout) -> Past:
        asked = rollout.history[0]["message"] if rollout.history else ""
        why = str(asked) if rollout.kind == "rollback" else rollout.reason
        previous, by = rollout.plan.previous, rollout.actor.name
        return cls(rollout.id, rollout.candidate, previous, rollout.kind, rollout.status, rollout.switched, by, why)


def past(store: RolloutStore, ledger: Ledger, model: str) -> list[Past]:
    """Oldest first. Raises Conflict for a damaged record that the ledger does not know or cannot be asked for."""
    known, lost = [Past.of(rollout) for rollout in store.all(model)], store.damaged_ids(model)
    if not lost:
        return known
    try:
        recorded = from_ledger(ledger, model)
    except TidegateError as error:
        raise _incomplete(store, model, str(error)) from error
    if not lost <= recorded.keys():
        raise _incomplete(store, model, f"the ledger does not know rollout {min(lost - recorded.keys())}")
    place = {id: number for number, id in enumerate(recorded)}
    return sorted([*known, *(recorded[id] for id in lost)], key=lambda each: place.get(each.id, len(place)))


def from_ledger(ledger: Ledger, model: str) -> dict[str, Past]:
    """All rollouts of the model that the ledger has, by id, in the order in which they started."""
    found: dict[str, Past] = {}
    live: str | None = None
    for entry in ledger.entries(Query(actions=(START, SWITCH, DONE, BACK))):
        id = str(entry.body.get("rollout", ""))
        if entry.subject.partition("@")[0] != model or (entry.action != START and id not in found):
            continue
        if entry.action == START:
            found[id] = _begun(entry, id, live)
            continue
        now = found[id]
        if entry.action == SWITCH:
            now, live = replace(now, switched=True), now.candidate
        elif entry.action == DONE:
            now, live = replace(now, status=Status.DONE, switched=True), now.candidate
        else:
            why = now.why if now.kind == "rollback" else str(entry.body.get("message", ""))
            now, live = replace(now, status=Status.ROLLED_BACK, why=why), now.previous
        found[id] = now
    return found


def earlier(found: Sequence[Past], active: str | None) -> list[str]:
    """Releases that were live for good, in the order in which they last became so: those whose rollout was done, and what was
    active before one of them, though its own record may be gone. Without the active one."""
    live: dict[str, str] = {}
    for each in found:
        if each.status is Status.DONE:
            if each.previous:
                live.setdefault(each.previous[:SHORT], each.previous)
            before = live.pop(each.candidate[:SHORT], "")
            live[each.candidate[:SHORT]] = max(before, each.candidate, key=len)
    return [release for short, release in live.items() if active is None or short != active[:SHORT]]


def _begun(entry: Entry, id: str, live: str | None) -> Past:
    body, release = entry.body, entry.subject.partition("@")[2]
    why, kind = str(body.get("reason", "")), str(body.get("kind", "rollout"))
    return Past(id, release, body.get("previous") or live, kind, Status.RUNNING, False, entry.actor, why)


def _incomplete(store: RolloutStore, model: str, why: str) -> Conflict:
    ids: Collection[str] = [f"{model}@{release[:SHORT]}" for release in earlier([Past.of(r) for r in store.all(model)], None)]
    return Conflict(
        f"rolling back model {model}: {store.damaged(model)[0]}; {why}, so which release is good is not known: name one with "
        f"'tidegate rollback {model} --to RELEASE --reason TEXT' (live for good before, as far as records tell: "
        f"{', '.join(ids) or 'none'})"
    )
