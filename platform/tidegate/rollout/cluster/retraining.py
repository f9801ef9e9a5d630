"""Between the ledger and those who train: what verdicts ask for goes out, what came of it goes in.

The ledger comes first: a request that is in it is published until the queue has it, through restarts of either side. What is
reported is written once, though the writer may be killed between writing and saying so.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tidegate.ports.ledger import Entry, Ledger, Query
from tidegate.ports.retraining import Report, Reports, RetrainingQueue, RetrainingRequest

ASKED, WATCH = "retraining.asked", "watch"
ENDS = ("retraining.done", "retraining.submitted", "retraining.failed", "retraining.refused")
REPORTED = (*ENDS, WATCH)  # nothing else is taken from whoever can reach the queue


@dataclass
class Retrainings:
    """`look` is called again and again; it raises Unavailable, and has then lost nothing."""

    ledger: Ledger
    queue: RetrainingQueue
    reports: Reports
    _waiting: list[RetrainingRequest] = field(default_factory=list)
    _written: set[str] = field(default_factory=set)
    _asked: set[tuple[str, str]] = field(default_factory=set)
    _watched: dict[tuple[str, str], str] = field(default_factory=dict)
    _read: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def ask(self, release: str, body: dict[str, Any]) -> None:
        """Record that a verdict asks for retraining; `body` has its `reason`."""
        with self._lock:
            entry = self.ledger.append(ASKED, release, body)
            self._waiting.append(request_of(entry))

    def look(self) -> None:
        if not self._read:
            self._take_up()
        with self._lock:
            waiting = sorted(self._waiting, key=lambda request: request.id)
        for request in waiting:
            self.queue.publish(request)
            with self._lock:
                self._waiting.remove(request)
        for name, report in self.reports.unwritten():
            if report.action in REPORTED and name not in self._written and not self._known(report):
                entry = self.ledger.append(report.action, report.subject, {**report.body, "report": name}, report.actor)
                self._written.add(name)
                self._follow_up(entry)
            self.reports.written(name)

    def _take_up(self) -> None:
        """What was asked for and neither published nor ended, as the ledger has it."""
        last = self.queue.last()
        entries = list(self.ledger.entries(Query(actions=(ASKED, *REPORTED))))
        ended = {entry.body.get("request") for entry in entries if entry.action in ENDS}
        asked = [request_of(entry) for entry in entries if entry.action == ASKED]
        self._written = {str(entry.body["report"]) for entry in entries if entry.action in REPORTED and "report" in entry.body}
        self._asked = {(e.subject, _window(e.body)) for e in entries if e.action == ASKED and _window(e.body)}
        with self._lock:
            known = {request.id for request in self._waiting}
            self._waiting += [r for r in asked if r.id > last and r.id not in ended and r.id not in known]
        for entry in entries:
            self._follow_up(entry)
        self._read = True

    def _known(self, report: Report) -> bool:
        """A watch says again what it saw when it was started again."""
        of = (report.subject, _window(report.body))
        return report.action == WATCH and self._watched.get(of) == report.body.get("verdict")

    def _follow_up(self, entry: Entry) -> None:
        """A watch that saw the world move asks for retraining, once for each release and window of data."""
        if entry.action != WATCH:
            return
        of = (entry.subject, _window(entry.body))
        self._watched[of] = str(entry.body.get("verdict"))
        if entry.body.get("retrain") and of not in self._asked:
            self._asked.add(of)
            gate = str(entry.body.get("gate", "drift"))  # which the first reports did not name
            self.ask(entry.subject, {"gate": gate, "window": of[1], "reason": str(entry.body["message"])})


def _window(body: Mapping[str, Any]) -> str:
    """The window of data that a body is about; earlier versions had weeks."""
    return str(body.get("window", body.get("week", "")))


def request_of(entry: Entry) -> RetrainingRequest:
    return RetrainingRequest(entry.sequence, entry.subject.partition("@")[0], entry.subject, str(entry.body["reason"]))
