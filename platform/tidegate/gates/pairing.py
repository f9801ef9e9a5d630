"""Live requests and what the candidate answered to the same requests, told apart by what each side did.

A pair is one live and one mirrored record with equal id. An id that several records of one side carry, or none, says nothing
about which belongs to which: these records are set aside and counted, never joined. Statuses, not contents, decide what a pair
says, so nothing that a client sends is interpreted here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from tidegate.ports.inference_records import RequestHead

SETTLING_SECONDS = 1.0  # a live request this recent may not have its mirrored record yet
PASSING_STATUSES = frozenset({408, 425, 429, 499})  # of the moment or of the client, not of the request


class Outcome(StrEnum):
    ANSWERED = "answered"
    REFUSED = "refused"
    FAILED = "failed"
    PASSING = "passing"  # a timeout, too many requests, a client that left: asked again it may be answered


def outcome(status: int) -> Outcome:
    if 200 <= status < 400:
        return Outcome.ANSWERED
    if status in PASSING_STATUSES:
        return Outcome.PASSING
    return Outcome.REFUSED if 400 <= status < 500 else Outcome.FAILED


@dataclass(frozen=True)
class Pair:
    """One request, as the candidate and as the live release took it."""

    candidate: RequestHead
    live: RequestHead

    @cached_property
    def outcomes(self) -> tuple[Outcome, Outcome]:
        """Of the candidate and of the live release."""
        return outcome(self.candidate.status), outcome(self.live.status)

    @property
    def answered_by_both(self) -> bool:
        return self.outcomes == (Outcome.ANSWERED, Outcome.ANSWERED)

    @property
    def refused_by_candidate(self) -> bool:
        """Whether clients get an answer today that the candidate would not give them."""
        ours, theirs = self.outcomes
        return theirs is Outcome.ANSWERED and ours in (Outcome.REFUSED, Outcome.PASSING)

    @property
    def answered_by_candidate_alone(self) -> bool:
        return self.outcomes == (Outcome.ANSWERED, Outcome.REFUSED)


@dataclass(frozen=True)
class Pairing:
    """`unmatched` of `expected` live requests have no mirrored record though later ones have; the latest `waiting` live
    requests have none yet. `ambiguous` records were set aside."""

    pairs: Sequence[Pair]
    ambiguous: int
    unmatched: int
    expected: int
    waiting: int


def pair(mirrored: Sequence[RequestHead], live: Sequence[RequestHead]) -> Pairing:
    """Both oldest first. Live requests count as expected from the first that has a mirrored record to the last one."""
    counts = [Counter(record.id for record in side) for side in (mirrored, live)]
    usable = {id for id in counts[0] | counts[1] if id and counts[0][id] <= 1 and counts[1][id] <= 1}
    ambiguous = sum(record.id not in usable for side in (mirrored, live) for record in side)
    by_id = {record.id: record for record in mirrored if record.id in usable}
    ours = [record for record in live if record.id in usable]
    places = [place for place, record in enumerate(ours) if record.id in by_id]
    pairs = [Pair(by_id[ours[place].id], ours[place]) for place in places]
    if not pairs:
        return Pairing([], ambiguous, 0, 0, len(ours))
    settled = max(record.at for record in ours) - SETTLING_SECONDS
    expected = [record for record in ours[places[0] : places[-1]] if record.at <= settled]
    waiting = [record for record in ours[places[-1] + 1 :] if record.at <= settled]
    unmatched = sum(record.id not in by_id for record in expected)
    return Pairing(pairs, ambiguous, unmatched, len(expected), len(waiting))
