"""How far the online rows that a slot serves were brought, for Prometheus: timestamps, so that an alert can take their age.

| metric | labels |
|---|---|
| `tidegate_features_until_timestamp_seconds`: all that was known at this moment is in the rows | view |
| `tidegate_features_written_timestamp_seconds`: when they were written | view |
| `tidegate_features_rows` | view |

As of the last look at the store, which readiness probes take again and again. Nothing is said of a store of an earlier version.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from tidegate.ports.features import Watermark


class FeatureMetrics(Collector):
    def __init__(self, watermark: Callable[[], Watermark | None]) -> None:
        self._watermark = watermark

    def collect(self) -> Iterator[Metric]:
        until = GaugeMetricFamily(
            "tidegate_features_until_timestamp_seconds", "What was known by then is in the online rows", labels=["view"]
        )
        written = GaugeMetricFamily(
            "tidegate_features_written_timestamp_seconds", "When the online rows were written", labels=["view"]
        )
        rows = GaugeMetricFamily("tidegate_features_rows", "Online rows written", labels=["view"])
        mark = self._watermark()
        for view, each in (mark.views if mark else {}).items():
            until.add_metric([view], each.until / 1e6)
            written.add_metric([view], each.written_at)
            rows.add_metric([view], each.rows)
        yield from (until, written, rows)
