"""How scheduled work stands on a cluster, by what Kubernetes says of the platform chart's CronJobs."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tidegate.adapters.kubernetes.api import KubernetesApi, namespaced
from tidegate.domain.errors import TidegateError
from tidegate.domain.schedule import Missed, Schedule
from tidegate.ports.cron import CronTimes
from tidegate.scheduling.standing import ScheduleStanding, overdue

logger = logging.getLogger("tidegate.gates")
KEPT_SECONDS = 15.0
SELECTOR = "app.kubernetes.io/name=tidegate,app.kubernetes.io/component=scheduled"
NAME = "tidegate/schedule"  # annotation: the schedule's name in the project file


def schedules_on(api: KubernetesApi, namespace: str, now: datetime, times: CronTimes) -> list[ScheduleStanding]:
    """Raises Unavailable, InvalidInput (no right to look)."""
    found = api.get(namespaced("batch/v1", namespace, "cronjobs"), labelSelector=SELECTOR)
    return [_standing(each, now, times) for each in found.get("items", ())]


def problems_on(api: KubernetesApi, model: str, now: datetime, times: CronTimes) -> list[str]:
    """What is wrong with scheduled work of any namespace whose command names the model; nothing where this account may not
    look, since metrics and alerts say it, too."""
    try:
        found = api.get("/apis/batch/v1/cronjobs", labelSelector=SELECTOR)
    except TidegateError:
        return []
    jobs = [job for job in found.get("items", ()) if model in _arguments(job)]
    return [standing.problem for job in jobs if (standing := _standing(job, now, times)).problem]


def _arguments(job: Mapping[str, Any]) -> list[str]:
    pod = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    return [argument for container in pod["containers"] for argument in container.get("args", ())]


def _standing(job: Mapping[str, Any], now: datetime, times: CronTimes) -> ScheduleStanding:
    meta, spec, status = job["metadata"], job["spec"], job.get("status", {})
    name = meta.get("annotations", {}).get(NAME, meta["name"])
    begun, success = status.get("lastScheduleTime"), status.get("lastSuccessfulTime")
    # both are written together with what is active, so a run that is not active and not a success has failed
    failed = bool(begun) and not status.get("active") and (success is None or _time(success) < _time(begun))
    skips = spec.get("startingDeadlineSeconds") is not None or bool(spec.get("suspend"))
    missed = Missed.SKIP if skips else Missed.ONCE
    schedule = Schedule(name=name, cron=spec["schedule"], zone=spec.get("timeZone", "UTC"), run=(), missed=missed)
    late = overdue(schedule, _time(begun or meta["creationTimestamp"]), now, times)
    said = [f"its last run, of {begun}, failed"] if failed else []
    said += [f"its run of {late.isoformat()} has not begun"] if late else []
    look = f"look with 'kubectl describe cronjob {meta['name']} -n {meta['namespace']}' and at its Jobs' logs"
    problem = f"schedule '{name}': {'; '.join(said)}; {look}" if said else ""
    return ScheduleStanding(name, _time(success).timestamp() if success else None, failed, late is not None, problem)


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


@dataclass
class SchedulesSeen:
    """How scheduled work stands, looked at when it is asked for and kept for a moment; nothing is said where it cannot be seen,
    which is an alert, too."""

    look: Callable[[], list[ScheduleStanding]]
    _found: list[ScheduleStanding] = field(default_factory=list)
    _at: float = field(default=-KEPT_SECONDS)

    def __call__(self) -> list[ScheduleStanding]:
        if time.monotonic() - self._at >= KEPT_SECONDS:
            self._at = time.monotonic()
            try:
                self._found = self.look()
            except TidegateError as error:
                logger.warning("looking at scheduled work: %s", error)
                self._found = []
        return self._found
