"""What became of a model, as its ledger tells it: a line for each thing that someone decided or that was done, and why.

Steps of a rollout and verdicts that passed are left out: `tidegate ledger list` has every entry, `tidegate gate show` the
evidence.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tidegate.domain.actor import Actor
from tidegate.ports.ledger import Entry

STEPS = ("rollout.stage", "rollout.stage_done", "rollout.switch", "rollout.rollback")


@dataclass(frozen=True)
class Event:
    """`subject` is `MODEL/VERSION`, a release or the model, `what` was done to it, `why` the reason or the evidence, if any."""

    sequence: int
    at: float
    who: Actor
    subject: str
    what: str
    why: str


def model_of(subject: str) -> str:
    """The model that an entry is about."""
    return subject.partition("@")[0].partition("/")[0]


def history(entries: Iterable[Entry], model: str) -> Iterator[Event]:
    """Those of `model`, in the order of `entries`."""
    for entry in entries:
        if model_of(entry.subject) == model and not _is_step(entry):
            what, why = _told(entry.action, entry.body)
            yield Event(entry.sequence, entry.at, entry.who, entry.subject, what, why)


def _is_step(entry: Entry) -> bool:
    return entry.action in STEPS or (entry.action == "verdict" and entry.body.get("verdict") == "PASS")


def _told(action: str, body: Mapping[str, Any]) -> tuple[str, str]:
    reason = str(body.get("reason") or body.get("message") or "")
    if action == "registration":
        return "registered", f"by run {body.get('run')}" if body.get("run") else ""
    if action == "promotion":
        return f"promotion {body.get('outcome', '')}".strip(), _gates(body.get("gates", ()))
    if action == "release":
        return "release built", f"of version {body.get('version')}"
    if action == "champion":
        before = body.get("previous")
        return "became champion", f"in place of version {before}" if before else "the first one"
    if action == "verdict":
        return f"gate {body.get('gate')} {body.get('verdict')}", str(body.get("message", ""))
    if action == "predicted":
        return "scored a file", f"{body.get('rows')} rows, {body.get('failed')} without a prediction"
    return action.replace("rollout.", "rollout ").replace("_", " ").replace(".", " "), reason


def _gates(gates: Iterable[Mapping[str, Any]]) -> str:
    """The gates that did not pass, or the approval, or the comparison that decided."""
    found = [
        (str(gate.get("gate")), str(gate.get("verdict")), str(gate.get("evidence", {}).get("summary", ""))) for gate in gates
    ]
    closed = [f"{name} {verdict}: {summary}" for name, verdict, summary in found if verdict != "PASS"]
    decided = [f"{name}: {summary}" for name, _, summary in found if name in ("beats_baseline", "approval")]
    return "; ".join(closed or decided)
