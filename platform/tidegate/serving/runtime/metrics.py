"""Prometheus metrics of one serving process, in a registry of their own. Log counters are read at scrape time.

| metric | labels |
|---|---|
| `tidegate_requests_total` | route, status, shadow |
| `tidegate_request_seconds` (histogram) | route, shadow |
| `tidegate_requests_in_flight` | |
| `tidegate_inference_log_records_total` | outcome (logged, sampled_out, dropped), status |
| `tidegate_inference_log_queue` | |
| `tidegate_release_info` (1) | model, version, release, slot, replica |
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from tidegate.serving.runtime.inference_log import InferenceLog

CONTENT_TYPE = CONTENT_TYPE_LATEST
BUCKETS = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class ServingMetrics:
    def __init__(self, log: InferenceLog, info: dict[str, str]) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "tidegate_requests", "Answered requests", ["route", "status", "shadow"], registry=self._registry
        )
        self._seconds = Histogram(
            "tidegate_request_seconds", "Time to answer", ["route", "shadow"], buckets=BUCKETS, registry=self._registry
        )
        self._in_flight = Gauge("tidegate_requests_in_flight", "Requests being answered", registry=self._registry)
        release = Gauge("tidegate_release_info", "The release served", list(info), registry=self._registry)
        release.labels(**info).set(1)
        self._registry.register(_LogCollector(log))

    def register(self, collector: Collector) -> None:
        """Show what `collector` counts too."""
        self._registry.register(collector)

    def started(self) -> None:
        self._in_flight.inc()

    def finished(self, route: str, status: int, shadow: bool, seconds: float) -> None:
        """`route` is one of a fixed set, never a client's path."""
        mirrored = "true" if shadow else "false"
        self._in_flight.dec()
        self._requests.labels(route, str(status), mirrored).inc()
        self._seconds.labels(route, mirrored).observe(seconds)

    def exposition(self) -> bytes:
        return generate_latest(self._registry)


class _LogCollector(Collector):
    def __init__(self, log: InferenceLog) -> None:
        self._log = log

    def collect(self) -> Iterator[Metric]:
        counts = self._log.counts()
        records = CounterMetricFamily(
            "tidegate_inference_log_records", "Requests by what became of their record", labels=["outcome", "status"]
        )
        for outcome in ("logged", "sampled_out", "dropped"):
            for status, n in getattr(counts, outcome).items():
                records.add_metric([outcome, str(status)], n)
        yield records
        yield GaugeMetricFamily("tidegate_inference_log_queue", "Records waiting to be written", value=counts.pending)
