"""Requests reach the queue and reports the ledger, each once, whoever is killed in between."""

from __future__ import annotations

from typing import Any

import pytest

from fakes.retraining import FakeRetraining, Store
from tidegate.domain.actor import Actor
from tidegate.domain.errors import Unavailable
from tidegate.ledger.memory import MemoryLedger
from tidegate.ports.retraining import Report
from tidegate.rollout.cluster.retraining import Retrainings

BODY = {"gate": "drift", "reason": "prices drifted"}
DRIFTED = {"window": "2011-12-05", "verdict": "FAIL", "retrain": True, "message": "prices drifted"}


class Desk:
    def __init__(self) -> None:
        self.ledger, self.store = MemoryLedger(), Store()
        self.queue = FakeRetraining(self.store)
        self.restart()

    def restart(self) -> None:
        self.retrainings = Retrainings(self.ledger, self.queue, self.queue)

    def actions(self) -> list[str]:
        return [entry.action for entry in self.ledger.entries()]

    def report(self, action: str, **body: Any) -> None:
        self.queue.report(Report(action, "demand@1", body, Actor("someone")))
        self.retrainings.look()


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_a_request_is_recorded_and_then_published(desk: Desk) -> None:
    desk.ledger.append("verdict", "demand@1", {})
    desk.retrainings.ask("demand@1", BODY)
    assert desk.actions()[-1] == "retraining.asked"
    desk.retrainings.look()
    (request,) = desk.queue.waiting()
    assert (request.id, request.model, request.release, request.reason) == (2, "demand", "demand@1", "prices drifted")


def test_what_was_recorded_and_not_published_is_published_after_a_restart(desk: Desk) -> None:
    desk.retrainings.ask("demand@1", BODY)
    desk.restart()
    desk.retrainings.look()
    assert [request.id for request in desk.queue.waiting()] == [1]
    desk.retrainings.look()
    desk.restart()
    desk.retrainings.look()
    assert [request.id for request in desk.queue.waiting()] == [1]


def test_a_queue_that_lost_everything_gets_what_is_not_ended(desk: Desk) -> None:
    desk.retrainings.ask("demand@1", BODY)
    desk.retrainings.ask("demand@2", BODY)
    desk.retrainings.look()
    desk.report("retraining.done", request=1)
    desk.queue.store = Store()
    desk.restart()
    desk.retrainings.look()
    assert [request.release for request in desk.queue.waiting()] == ["demand@2"]


def test_an_unreachable_queue_loses_nothing(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.retrainings.look()
    desk.retrainings.ask("demand@1", BODY)

    def refuse(_: Any) -> None:
        raise Unavailable("no answer")

    with monkeypatch.context() as broken:
        broken.setattr(desk.queue, "publish", refuse)
        with pytest.raises(Unavailable):
            desk.retrainings.look()
    desk.retrainings.look()
    assert [request.id for request in desk.queue.waiting()] == [1]


def test_a_report_is_written_once_though_the_writer_is_killed_before_it_says_so(desk: Desk) -> None:
    desk.queue.report(Report("retraining.done", "demand@1", {"request": 1, "version": "3"}, Actor("training")))
    kept = dict(desk.store.reports)
    desk.retrainings.look()
    desk.store.reports = kept  # as if it had been killed between ledger and queue
    desk.restart()
    desk.retrainings.look()
    assert desk.actions() == ["retraining.done"]
    assert not desk.store.reports


def test_nobody_writes_what_is_not_his_to_report(desk: Desk) -> None:
    desk.report("override", gate="drift")
    assert desk.actions() == []
    assert not desk.store.reports


def test_a_watch_that_saw_drift_asks_once_for_each_release_and_window(desk: Desk) -> None:
    desk.report("watch", **DRIFTED)
    desk.report("watch", **DRIFTED)  # a monitor that was started again
    assert desk.actions() == ["watch", "retraining.asked"]
    desk.restart()
    desk.report("watch", **DRIFTED)
    assert desk.actions() == ["watch", "retraining.asked"]
    desk.report("watch", **{**DRIFTED, "window": "2011-12-12"})
    assert desk.actions() == ["watch", "retraining.asked"] * 2
    desk.retrainings.look()
    assert len(desk.queue.waiting()) == 2


def test_a_watch_that_saw_a_fault_or_nothing_asks_for_nothing(desk: Desk) -> None:
    desk.report("watch", week="2011-12-05", verdict="FAIL", retrain=False, message="broken")
    desk.report("watch", week="2011-12-05", verdict="PASS", retrain=False, message="fine")
    assert desk.actions() == ["watch", "watch"]


def test_weeks_that_an_earlier_version_wrote_are_windows(desk: Desk) -> None:
    former = {("week" if name == "window" else name): value for name, value in DRIFTED.items()}
    desk.report("watch", **former)
    assert desk.actions() == ["watch", "retraining.asked"]
    desk.restart()
    desk.report("watch", **DRIFTED)
    assert desk.actions() == ["watch", "retraining.asked"]
