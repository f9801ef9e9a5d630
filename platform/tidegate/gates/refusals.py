"""Refusals (4xx) by route after a switch against those of the release before, from what both releases recorded.

Clients choose how many bad requests they send, so a larger share of refusals alone proves nothing about a release. What does
is refusals *in the place of answers*: a release at fault refuses requests that would have been answered, so that answers become
fewer by as many; bad requests of a client come on top of as many answers as before. Two steps: an anytime-valid test says
whether the share has grown; only then answers in equal times before and after the switch say by whom. Where they do not say it
yet, the question is open, and a gate that is open does not pass.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from dataclasses import dataclass, field

from tidegate.domain.verdict import Finding
from tidegate.gates.examples import NAMED, named, printable
from tidegate.gates.pairing import SETTLING_SECONDS, Outcome, outcome
from tidegate.ports.inference_records import InferenceRecords, RequestHead, Selection
from tidegate.statistics.eprocess import log_evidence

FEWEST_BEFORE = 50  # requests of a route before the switch; with fewer there is nothing to compare with
SURE, LIKELY = 2.5, 1.0  # standard deviations to blame the release, and to blame clients
ROUTES = 8  # compared at most
LONGEST_BEFORE = 600.0  # seconds before the switch that are looked at


@dataclass(frozen=True)
class Refusals:
    """`harm` says where the release is to blame, `open_question` where it cannot be told yet; both empty when all is well."""

    findings: tuple[Finding, ...] = ()
    harm: str = ""
    open_question: str = ""


@dataclass
class _Counts:
    answered: int = 0
    refused: int = 0
    bad: list[RequestHead] = field(default_factory=list)  # the first few that were refused

    def add(self, record: RequestHead) -> None:
        kind = outcome(record.status)
        self.answered += kind is Outcome.ANSWERED
        self.refused += kind is Outcome.REFUSED
        if kind is Outcome.REFUSED and len(self.bad) < NAMED:
            self.bad.append(record)


@dataclass
class _Usual:
    """When requests of the release before were made: the first of all, and by route those answered and those refused."""

    first: float
    answered: dict[str, array[float]] = field(default_factory=dict)
    refused: dict[str, array[float]] = field(default_factory=dict)

    def add(self, record: RequestHead) -> None:
        self.first = min(self.first, record.at)
        kind = outcome(record.status)
        if kind in (Outcome.ANSWERED, Outcome.REFUSED):
            into = self.answered if kind is Outcome.ANSWERED else self.refused
            into.setdefault(record.route, array("d")).append(record.at)

    def counts(self, route: str, start: float) -> _Counts:
        """From `start` on."""
        made = [times.get(route, array("d")) for times in (self.answered, self.refused)]
        answered, refused = (len(times) - bisect_left(times, start) for times in made)
        return _Counts(answered, refused)


class RefusalWatch:
    """Counts what the records of one switch tell, each once: a look costs what was recorded since the last one."""

    def __init__(self, records: InferenceRecords, before: str | None, after: str, since: float) -> None:
        self._records, self._before, self._after, self._since = records, before, after, since
        self._usual: _Usual | None = None
        self._counted = since
        self._routes: dict[str, _Counts] = {}

    def look(self, now: float, increase: float, limit: float) -> Refusals:
        """A share may grow by `increase`; more is taken for true when the logarithm of the evidence reaches `limit`."""
        if self._before is None:
            return Refusals()
        until = max(self._counted, now - SETTLING_SECONDS)
        new = Selection(self._after, shadow=False, since=self._counted, until=until)
        for record in self._records.heads(new):
            if record.route in self._routes or len(self._routes) < ROUTES:
                self._routes.setdefault(record.route, _Counts()).add(record)
        self._counted = until
        findings, harm, undecided = [], [], []
        for name, after in sorted(self._routes.items()):
            usual, scale = self._usual_counts(name, until - self._since)
            finding, blame = _judged(name, usual, after, scale, increase, limit)
            findings.append(finding)
            said = f"{finding.subject}: {finding.note}"
            if blame == "release":
                harm.append(said)
            elif blame == "unknown":
                undecided.append(said)
        return Refusals(tuple(findings), "; ".join(harm), "; ".join(undecided))

    def _usual_counts(self, route: str, seconds: float) -> tuple[_Counts, float]:
        """What the release before did in the last `seconds` before the switch, and what to multiply it by where it had less."""
        if self._usual is None:
            before = Selection(self._before, shadow=False, since=self._since - LONGEST_BEFORE, until=self._since)
            usual = _Usual(self._since)
            for record in self._records.heads(before):
                usual.add(record)
            self._usual = usual
        start = max(self._since - seconds, self._usual.first)
        span = self._since - start
        return self._usual.counts(route, start), max(1.0, seconds / span) if span > 0 else 1.0


def _judged(route: str, usual: _Counts, now: _Counts, scale: float, increase: float, limit: float) -> tuple[Finding, str]:
    """The finding, and who is to blame: nobody, the release, clients, or unknown."""
    subject = f"refusals on route {printable(route, 20)}" if route else "refusals"
    asked, asked_before = now.answered + now.refused, usual.answered + usual.refused
    share = now.refused / asked if asked else None
    seen = f"{now.refused} of {asked} predictions were refused, {usual.refused} of {asked_before} by the release before"
    if asked_before < FEWEST_BEFORE or not asked:
        return Finding(subject, share, "not compared", True, f"{seen}: too few to compare"), "nobody"
    expected = _upper_share(usual.refused, asked_before)
    required = f"at most {expected + increase:.3g}"
    if expected + increase >= 0.8 or log_evidence(asked, now.refused, expected + increase) < limit:
        return Finding(subject, share, required, True, seen), "nobody"
    before = usual.answered * scale
    excess = now.refused - expected / (1 - expected) * now.answered
    fewer, deviation = before - now.answered, math.sqrt(now.answered + before * scale)
    examples = f"{seen} ({named(now.bad)})"
    if fewer - SURE * deviation >= excess / 2:
        return Finding(subject, share, required, False, f"{examples}, in the place of answers"), "release"
    if fewer + LIKELY * deviation < excess / 2:
        note = f"{examples}, on top of as many answers as before, so clients send them"
        return Finding(subject, share, required, True, note), "clients"
    return Finding(subject, share, required, True, f"{examples}; whether in the place of answers is open"), "unknown"


def _upper_share(refused: int, asked: int) -> float:
    """Upper bound (Wilson's, 2.5 deviations) of a share."""
    z = SURE
    share = refused / asked
    middle = share + z * z / (2 * asked)
    half = z * math.sqrt(share * (1 - share) / asked + z * z / (4 * asked * asked))
    return min(1.0, (middle + half) / (1 + z * z / asked))
