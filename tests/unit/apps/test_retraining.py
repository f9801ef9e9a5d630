"""A Job of retraining: what it reports, what it leaves for the next one, and what it does not do twice."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from fakes.retraining import FakeRetraining
from tidegate.apps import retraining
from tidegate.apps.retraining import retrain
from tidegate.domain.errors import InvalidInput, NotFound, Unavailable
from tidegate.ports.registry import ModelVersion
from tidegate.ports.retraining import RetrainingRequest
from tidegate.training.run import GoesOn

VERSION = ModelVersion("demand", "4", "run-1", "a" * 64, {}, {}, ())


@dataclass
class Platform:
    """Stands for the platform of a project with the model `demand`; `outcome` is what training gives or raises."""

    outcome: Any = VERSION
    trained: int = 0
    said: list[str] = field(default_factory=list)

    @property
    def project(self) -> Any:
        return SimpleNamespace(model=self._model)

    def _model(self, name: str) -> Any:
        if name != "demand":
            raise NotFound(f"no model '{name}'")
        return SimpleNamespace(name=name)

    def progress(self, message: str) -> None:
        self.said.append(message)

    def ingest_all(self, model: str) -> None: ...

    def train(self, model: str) -> ModelVersion:
        self.trained += 1
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return VERSION


@pytest.fixture
def queue() -> FakeRetraining:
    made = FakeRetraining()
    made.publish(RetrainingRequest(7, "demand", "demand@1", "prices drifted"))
    return made


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> list[ModelVersion]:
    """Versions that were made of the present data before."""
    found: list[ModelVersion] = []
    monkeypatch.setattr(retraining, "_made_before", lambda platform, model: found[0] if found else None)
    return found


def reported(queue: FakeRetraining) -> list[tuple[str, Any]]:
    return [(report.action, report.body["request"]) for _, report in queue.unwritten()]


def test_a_request_is_answered_by_a_version(queue: FakeRetraining, known: list[ModelVersion]) -> None:
    found = retrain(Platform(), queue)  # type: ignore[arg-type]
    assert found is not None
    assert (found.version, found.made_now) == (VERSION, True)
    assert queue.waiting() == []
    ((_, report),) = queue.unwritten()
    assert (report.action, report.subject, report.body["version"]) == ("retraining.done", "demand@1", "4")


def test_nobody_asking_is_no_work(known: list[ModelVersion]) -> None:
    platform = Platform()
    assert retrain(platform, FakeRetraining()) is None  # type: ignore[arg-type]
    assert platform.trained == 0


def test_the_same_data_are_not_trained_on_twice(queue: FakeRetraining, known: list[ModelVersion]) -> None:
    known.append(VERSION)
    platform = Platform()
    found = retrain(platform, queue)  # type: ignore[arg-type]
    assert found is not None
    assert not found.made_now
    assert platform.trained == 0
    assert reported(queue) == [("retraining.done", 7)]


@pytest.mark.parametrize(
    ("error", "action"),
    [(InvalidInput("a column is missing"), "retraining.failed"), (GoesOn("run 1 goes on"), "retraining.submitted")],
)
def test_what_would_end_the_same_way_is_reported_and_not_repeated(
    queue: FakeRetraining, known: list[ModelVersion], error: Exception, action: str
) -> None:
    with pytest.raises(type(error)):
        retrain(Platform(error), queue)  # type: ignore[arg-type]
    assert reported(queue) == [(action, 7)]
    assert queue.waiting() == []


def test_a_model_that_the_project_has_not_is_reported(known: list[ModelVersion]) -> None:
    queue = FakeRetraining()
    queue.publish(RetrainingRequest(1, "returns", "returns@1", "drift"))
    with pytest.raises(NotFound):
        retrain(Platform(), queue)  # type: ignore[arg-type]
    assert reported(queue) == [("retraining.failed", 1)]


@pytest.mark.parametrize("error", [Unavailable("MLflow is away"), RuntimeError("a defect")])
def test_what_may_go_better_next_time_stays_in_the_queue(
    queue: FakeRetraining, known: list[ModelVersion], error: Exception
) -> None:
    with pytest.raises(type(error)):
        retrain(Platform(error), queue)  # type: ignore[arg-type]
    assert reported(queue) == []
    assert queue.take() is not None
