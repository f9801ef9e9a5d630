"""Ports between the gate service, which alone writes the ledger of a cluster, and those who train and watch beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from tidegate.domain.actor import PLATFORM, Actor, named, named_in
from tidegate.domain.formats import Format, Unknown

REQUEST = Format("request for retraining", Unknown.IGNORED)  # trainer and gate service may be of two versions
TRAINING = Actor("training")
REPORT = Format("report to the ledger's writer", Unknown.IGNORED)


@dataclass(frozen=True)
class RetrainingRequest:
    """`id` is the sequence of the ledger entry that asks, so a later request has a higher one; `release` is the id of the
    release whose verdict asked, `reason` what that verdict said."""

    id: int
    model: str
    release: str
    reason: str


@dataclass(frozen=True)
class Report:
    """What was done or seen beside the ledger's writer, as the entry that it shall become."""

    action: str
    subject: str
    body: Mapping[str, Any]
    actor: Actor = PLATFORM

    def to_json(self) -> dict[str, Any]:
        return {"action": self.action, "subject": self.subject, "body": dict(self.body), **named(self.actor)}

    @classmethod
    def read(cls, content: bytes, where: str) -> Report:
        """Raises IntegrityError that names `where`."""
        said = REPORT.parse(content, where)
        return REPORT.convert(said, cls, where, actor=named_in(said))


class RetrainingQueue(Protocol):
    """Requests that one trainer at a time works on. All methods raise Unavailable."""

    def last(self) -> int:
        """The highest id that was ever published, 0 for none."""

    def publish(self, request: RetrainingRequest) -> None:
        """Publish in the order of ids; one that was published before changes nothing."""

    def waiting(self) -> Sequence[RetrainingRequest]:
        """All that are not done, oldest first: taken or not."""

    def take(self) -> RetrainingRequest | None:
        """The oldest that nobody works on, None where there is none. One that was taken too often without an end is refused:
        it leaves the queue, and is reported."""

    def working(self, request: RetrainingRequest) -> AbstractContextManager[None]:
        """As long as it is entered, nobody else takes the request; left by an exception, somebody may at once."""

    def done(self, request: RetrainingRequest, report: Report) -> None:
        """Out of the queue and reported, both or neither."""


class Reports(Protocol):
    """What waits to be written into the ledger. All methods raise Unavailable."""

    def report(self, report: Report) -> None: ...

    def unwritten(self) -> Iterator[tuple[str, Report]]:
        """With a name each, oldest first. Raises IntegrityError, at last, for one that cannot be read."""

    def written(self, name: str) -> None: ...
