"""How scheduled work stands on a cluster, by what Kubernetes says of CronJobs."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.testclient import TestClient

from tidegate.adapters.http.gates import gate_app
from tidegate.adapters.http.schedule_metrics import exposition
from tidegate.adapters.kubernetes.api import Forbidden
from tidegate.adapters.kubernetes.cron_jobs import SELECTOR, SchedulesSeen, problems_on, schedules_on
from tidegate.apps import wiring
from tidegate.domain.actor import Actor
from tidegate.domain.errors import Unavailable
from tidegate.scheduling.standing import ScheduleStanding

BEGUN, ENDED = "2026-03-02T02:30:00Z", "2026-03-02T02:34:00Z"


class Api:
    def __init__(self, **job: Any) -> None:
        meta = {"name": "tidegate-nightly-features", "namespace": "tidegate", "creationTimestamp": "2026-02-01T00:00:00Z"}
        meta["annotations"] = {"tidegate/schedule": "nightly_features"}  # type: ignore[assignment]
        spec = {"schedule": "30 2 * * *", "timeZone": "UTC", **job.pop("spec", {})}
        self.job = {"metadata": meta, "spec": spec, "status": job}

    def get(self, path: str, **query: str) -> dict[str, Any]:
        assert (path, query) == ("/apis/batch/v1/namespaces/tidegate/cronjobs", {"labelSelector": SELECTOR})
        return {"items": [self.job]}


def looked(api: Api, now: str) -> ScheduleStanding:
    (found,) = schedules_on(api, "tidegate", datetime.fromisoformat(now), wiring.cron_times())  # type: ignore[arg-type]
    assert found.name == "nightly_features"
    return found


@pytest.mark.parametrize(
    ("job", "now", "failed", "late"),
    [
        ({"lastScheduleTime": BEGUN, "lastSuccessfulTime": ENDED}, "2026-03-02T09:00:00Z", False, False),
        ({"lastScheduleTime": BEGUN, "active": [{"name": "x"}]}, "2026-03-02T02:31:00Z", False, False),
        ({"lastScheduleTime": BEGUN}, "2026-03-02T09:00:00Z", True, False),
        ({"lastScheduleTime": BEGUN, "lastSuccessfulTime": "2026-03-01T02:34:00Z"}, "2026-03-02T09:00:00Z", True, False),
        ({"lastScheduleTime": BEGUN, "lastSuccessfulTime": ENDED}, "2026-03-03T02:34:00Z", False, False),
        ({"lastScheduleTime": BEGUN, "lastSuccessfulTime": ENDED}, "2026-03-03T02:36:00Z", False, True),
        ({}, "2026-03-03T02:36:00Z", False, True),  # it never ran
        ({"spec": {"suspend": True}}, "2026-03-03T02:36:00Z", False, False),
        ({"spec": {"startingDeadlineSeconds": 300}}, "2026-03-03T02:36:00Z", False, False),
    ],
)
def test_a_run_that_failed_or_did_not_begin_is_seen(job: dict[str, Any], now: str, failed: bool, late: bool) -> None:
    found = looked(Api(**job), now)
    assert (found.failed, found.late) == (failed, late)
    assert bool(found.problem) == (failed or late)
    assert not found.problem or "kubectl describe cronjob tidegate-nightly-features -n tidegate" in found.problem


def test_status_names_what_is_wrong_with_the_work_of_a_model() -> None:
    pod = {"spec": {"containers": [{"args": ["features", "refresh", "demand"]}]}}
    api = Api(lastScheduleTime=BEGUN, spec={"jobTemplate": {"spec": {"template": pod}}})

    def get(path: str, **query: str) -> dict[str, Any]:
        assert (path, query) == ("/apis/batch/v1/cronjobs", {"labelSelector": SELECTOR})
        return {"items": [api.job]}

    def forbidden(path: str, **query: str) -> dict[str, Any]:
        raise Forbidden("cronjobs is forbidden")

    def problems(get: Any, model: str) -> list[str]:
        at = datetime.fromisoformat("2026-03-02T09:00:00Z")
        return problems_on(SimpleNamespace(get=get), model, at, wiring.cron_times())  # type: ignore[arg-type]

    (said,) = problems(get, "demand")
    assert said.startswith(f"schedule 'nightly_features': its last run, of {BEGUN}, failed")
    assert problems(get, "returns") == problems(forbidden, "demand") == []


def test_the_gate_service_shows_it_to_prometheus_and_nothing_where_it_cannot_see() -> None:
    def refuse(*_: str) -> Any:
        raise AssertionError

    def metrics(look: Any) -> str:
        app = gate_app(refuse, lambda: "", lambda token: Actor(token), SchedulesSeen(look))
        return TestClient(app).get("/metrics").text

    found = looked(Api(lastScheduleTime=BEGUN, lastSuccessfulTime="2026-03-01T02:34:00Z"), "2026-03-02T09:00:00Z")
    shown = metrics(lambda: [found])
    assert 'tidegate_schedule_last_run_failed{schedule="nightly_features"} 1.0' in shown
    assert 'tidegate_schedule_late{schedule="nightly_features"} 0.0' in shown
    (line,) = [line for line in shown.splitlines() if line.startswith("tidegate_schedule_last_success_timestamp_seconds{")]
    assert float(line.split()[-1]) == datetime(2026, 3, 1, 2, 34, tzinfo=UTC).timestamp()

    def away() -> list[ScheduleStanding]:
        raise Unavailable("the API server does not answer")

    assert "tidegate_schedule_late{" not in metrics(away)
    assert b'tidegate_schedule_last_run_failed{schedule="nightly_features"} 1.0' in exposition([found])
