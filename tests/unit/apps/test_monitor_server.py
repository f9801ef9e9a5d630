"""The monitor looks at the release that clients met last, and says each verdict once."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fakes import rollouts as fakes
from fakes.retraining import FakeRetraining
from tidegate.adapters.http.monitor import Looks, monitor_app
from tidegate.apps.monitor import AGAIN_SECONDS, Monitor
from tidegate.domain.errors import Unavailable
from tidegate.domain.verdict import Evidence, GateResult, Verdict
from tidegate.gates import watch as watching
from tidegate.gates.watch import WatchResult

RELEASE = fakes.manifest("1")


class Stage:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.records: list[Any] = [SimpleNamespace(release=RELEASE.digest)]
        self.results: list[WatchResult] = []
        self.queue, self.looks = FakeRetraining(), Looks()
        source = SimpleNamespace(read=lambda *_, **__: iter(self.records))
        self.monitor = Monitor({"demand": source}, self.release, self.queue, self.looks, 300)  # type: ignore[dict-item]
        monkeypatch.setattr(watching, "watch", lambda *_, **__: self.results)

    def release(self, digest: str) -> tuple[Any, Path]:
        assert digest == RELEASE.digest
        return RELEASE, Path()

    def sees(self, verdict: Verdict, window: str = "2011-12-05", kind: str = "drift") -> None:
        evidence = Evidence("as it is", 500, {"kind": kind, "drifted": 3})
        failed = verdict is Verdict.FAIL
        result = GateResult("drift", RELEASE.id, verdict, evidence)
        self.results = [WatchResult(result, window, freeze=failed, retrain=failed and kind == "drift", advice="")]
        self.monitor.look("demand")

    def reported(self) -> list[tuple[str, bool]]:
        return [(report.body["verdict"], report.body["retrain"]) for _, report in self.queue.unwritten()]

    def page(self) -> str:
        from prometheus_client import CollectorRegistry, generate_latest

        registry = CollectorRegistry()
        registry.register(self.looks)
        return generate_latest(registry).decode()


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    return Stage(monkeypatch)


def test_drift_is_shown_and_reported_once(stage: Stage) -> None:
    stage.sees(Verdict.FAIL)
    stage.sees(Verdict.FAIL)
    assert stage.reported() == [("FAIL", True)]
    labels = f'model="demand",release="{RELEASE.id}"'
    assert f'tidegate_drift_verdict{{{labels},window="2011-12-05"}} 0.0' in stage.page()
    assert f"tidegate_drift_features{{{labels}}} 3.0" in stage.page()


def test_a_verdict_that_changes_is_reported_again(stage: Stage) -> None:
    for verdict in (Verdict.PASS, Verdict.FAIL, Verdict.PASS):
        stage.sees(verdict)
    assert stage.reported() == [("PASS", False), ("FAIL", True), ("PASS", False)]


def test_a_fault_asks_for_no_retraining(stage: Stage) -> None:
    stage.sees(Verdict.FAIL, kind="fault")
    assert stage.reported() == [("FAIL", False)]


def test_too_little_traffic_is_no_verdict(stage: Stage) -> None:
    stage.sees(Verdict.INCONCLUSIVE)
    assert stage.reported() == []
    assert "tidegate_drift_verdict{" not in stage.page()
    assert 'tidegate_monitor_looked_timestamp_seconds{model="demand"}' in stage.page()


def test_no_traffic_at_all_is_seen_as_that(stage: Stage) -> None:
    stage.records = []
    stage.monitor.look("demand")
    assert stage.monitor.problem() == ""
    assert "tidegate_drift_verdict{" not in stage.page()


def test_a_monitor_that_has_not_looked_is_not_ready(stage: Stage) -> None:
    assert "was not looked at yet" in stage.monitor.problem()
    routes = {route.path for route in monitor_app(stage.looks, stage.monitor.problem).routes}  # type: ignore[attr-defined]
    assert routes == {"/livez", "/readyz", "/metrics"}


def test_what_keeps_it_from_seeing_is_raised_and_nothing_is_shown(stage: Stage) -> None:
    def away(*_: Any, **__: Any) -> list[Any]:
        raise Unavailable("Redis is away")

    stage.monitor.records["demand"] = SimpleNamespace(read=away)  # type: ignore[assignment]
    with pytest.raises(Unavailable):
        stage.monitor.look("demand")
    assert stage.page().count("demand") == 0


def test_what_was_away_is_asked_again_soon_and_the_monitor_is_ready_then(stage: Stage) -> None:
    there = stage.monitor.records["demand"]

    def away(*_: Any, **__: Any) -> list[Any]:
        raise Unavailable("Redis is away")

    stage.monitor.records["demand"] = SimpleNamespace(read=away)  # type: ignore[assignment]
    assert stage.monitor.attempt("demand") == AGAIN_SECONDS < stage.monitor.every_seconds
    assert stage.monitor.problem() == "Redis is away"
    stage.records, stage.monitor.records["demand"] = [], there
    assert stage.monitor.attempt("demand") == stage.monitor.every_seconds
    assert stage.monitor.problem() == ""


def test_a_defect_is_logged_no_more_often_than_a_look_is_due(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    def broken(*_: Any, **__: Any) -> list[Any]:
        raise RuntimeError("broken")

    stage.monitor.records["demand"] = SimpleNamespace(read=broken)  # type: ignore[assignment]
    assert stage.monitor.attempt("demand") == stage.monitor.every_seconds
    assert "RuntimeError: broken" in caplog.text
    assert "see the log" in stage.monitor.problem()


def test_the_monitor_looks_again_by_itself_until_it_sees(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidegate.apps.monitor.AGAIN_SECONDS", 0.01)
    asked, seen = [], threading.Event()

    def late(*_: Any, **__: Any) -> list[Any]:
        asked.append(1)
        if len(asked) < 3:
            raise Unavailable("Redis is away")
        seen.set()
        return []

    stage.monitor.records["demand"] = SimpleNamespace(read=late)  # type: ignore[assignment]
    stage.monitor.start()
    try:
        assert seen.wait(10)
    finally:
        stage.monitor.stop()
    assert len(asked) == 3
