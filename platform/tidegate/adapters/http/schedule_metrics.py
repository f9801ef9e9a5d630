"""How schedules stand, for Prometheus.

| metric | labels |
|---|---|
| `tidegate_schedule_last_success_timestamp_seconds`: when a run ended well last; none of one that never did | schedule |
| `tidegate_schedule_last_run_failed`: 1 where the last run failed, was ended at its time limit or was cut off | schedule |
| `tidegate_schedule_late`: 1 where a run should have begun minutes ago and has not | schedule |
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from tidegate.scheduling.standing import ScheduleStanding


class ScheduleMetrics(Collector):
    def __init__(self, look: Callable[[], Sequence[ScheduleStanding]]) -> None:
        self._look = look

    def collect(self) -> Iterator[GaugeMetricFamily]:
        success = _gauge("last_success_timestamp_seconds", "When a run of the schedule ended well last")
        failed = _gauge("last_run_failed", "Whether the last run of the schedule failed")
        late = _gauge("late", "Whether a run of the schedule should have begun and has not")
        for each in self._look():
            if each.last_success is not None:
                success.add_metric([each.name], each.last_success)
            failed.add_metric([each.name], each.failed)
            late.add_metric([each.name], each.late)
        yield from (success, failed, late)


def exposition(standings: Sequence[ScheduleStanding]) -> bytes:
    """The same as a text file, as the textfile collector of Prometheus' node exporter reads it."""
    registry = CollectorRegistry()
    registry.register(ScheduleMetrics(lambda: standings))
    return generate_latest(registry)


def _gauge(name: str, text: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"tidegate_schedule_{name}", text, labels=["schedule"])
