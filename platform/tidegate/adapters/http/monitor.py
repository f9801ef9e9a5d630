"""What the monitor shows over HTTP: `/metrics` for Prometheus, `/livez` and `/readyz` for the kubelet.

| metric | labels | value |
|---|---|---|
| `tidegate_drift_verdict` | model, release, window | 1 PASS, 0 FAIL, -1 ERROR of the latest window; none while open |
| `tidegate_drift_features` | model, release | features beyond their threshold in that window |
| `tidegate_monitor_looked_timestamp_seconds` | model | when the model was looked at last |
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


@dataclass(frozen=True)
class Look:
    """The latest look at a model: `sample` is None while the verdict is open or there is no traffic."""

    release: str = ""
    window: str = ""
    sample: int | None = None
    drifted: int = 0


@dataclass(eq=False)
class Looks(Collector):
    """The latest looks, as metrics."""

    _looks: dict[str, tuple[float, Look]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def saw(self, model: str, look: Look) -> None:
        with self._lock:
            self._looks[model] = time.time(), look

    def at(self, model: str) -> float:
        """When the model was looked at last, 0 for never."""
        with self._lock:
            return self._looks.get(model, (0.0, Look()))[0]

    def collect(self) -> Iterator[GaugeMetricFamily]:
        verdict = GaugeMetricFamily("tidegate_drift_verdict", "1 PASS, 0 FAIL, -1 ERROR", labels=["model", "release", "window"])
        features = GaugeMetricFamily("tidegate_drift_features", "Features beyond their threshold", labels=["model", "release"])
        looked = GaugeMetricFamily("tidegate_monitor_looked_timestamp_seconds", "When it was looked last", labels=["model"])
        with self._lock:
            looks = dict(self._looks)
        for model, (at, look) in looks.items():
            looked.add_metric([model], at)
            if look.sample is not None:
                verdict.add_metric([model, look.release, look.window], look.sample)
                features.add_metric([model, look.release], look.drifted)
        yield from (verdict, features, looked)


def monitor_app(looks: Looks, problem: Callable[[], str]) -> Starlette:
    """`problem` says why the monitor does not see, empty when it does."""
    registry = CollectorRegistry()
    registry.register(looks)

    def readyz(_: Request) -> Response:
        said = problem()
        return JSONResponse({"ready": not said, "problem": said}, 503 if said else 200)

    def livez(_: Request) -> Response:
        return JSONResponse({"live": True})

    def metrics(_: Request) -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return Starlette(routes=[Route("/livez", livez), Route("/readyz", readyz), Route("/metrics", metrics)])
