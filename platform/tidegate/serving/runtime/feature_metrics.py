"""How far the online rows that a slot serves were brought, and how fresh they are, for Prometheus.

| metric | labels |
|---|---|
| `tidegate_features_until_timestamp_seconds`: all that was known at this moment is in the rows | view |
| `tidegate_features_written_timestamp_seconds`: when they were written | view |
| `tidegate_features_rows` | view |
| `tidegate_features_age_seconds`: of the view's newest row, at the store's moment | view |
| `tidegate_features_ttl_seconds`: beyond it a value is missing; of views that have a limit | view |
| `tidegate_features_expired_rows_total`: rows that were read and whose values were older than that | view |

As of the last look at the store, which readiness probes take again and again. Nothing is said of a store of an earlier version.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from tidegate.ports.features import Watermark


class FeatureMetrics(Collector):
    """Of what a reader tells: its watermark, the TTLs of its contract and the rows that were too old."""

    def __init__(
        self,
        watermark: Callable[[], Watermark | None],
        ttl: Mapping[str, float],
        expired: Callable[[], Mapping[str, int]],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._watermark, self._ttl, self._expired, self._clock = watermark, ttl, expired, clock

    def collect(self) -> Iterator[Metric]:
        until = _gauge("until_timestamp_seconds", "What was known by then is in the online rows")
        written = _gauge("written_timestamp_seconds", "When the online rows were written")
        rows = _gauge("rows", "Online rows written")
        age = _gauge("age_seconds", "Age of the newest online row at the store's moment")
        mark = self._watermark()
        clock = mark.clock if mark else None
        for view, each in (mark.views if mark else {}).items():
            until.add_metric([view], each.until / 1e6)
            written.add_metric([view], each.written_at)
            rows.add_metric([view], each.rows)
            if each.newest and clock:
                age.add_metric([view], (clock.at(self._clock()) - each.newest) / 1e6)
        ttl = _gauge("ttl_seconds", "Age beyond which a value of the view is missing")
        for view, seconds in self._ttl.items():
            ttl.add_metric([view], seconds)
        expired = CounterMetricFamily(
            "tidegate_features_expired_rows", "Rows read that were older than their TTL", labels=["view"]
        )
        for view, count in self._expired().items():
            expired.add_metric([view], count)
        yield from (until, written, rows, age, ttl, expired)


def _gauge(name: str, text: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"tidegate_features_{name}", text, labels=["view"])
