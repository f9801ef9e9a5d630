"""The gate service over HTTP.

| path | for |
|---|---|
| `/v1/models/{model}/releases/{digest}/gates/{gate}` | people: the verdict with its evidence |
| the same `/api/v1/query` | Argo Rollouts' analyses: Prometheus' instant-query API, one sample for a verdict that was reached |
| `/livez`, `/readyz`, `/metrics` | kubelet, Prometheus |

It answers questions and takes no orders. A caller needs no token, as an analysis has none; one that is presented has to be
valid, and the verdict for people says whose it is. Nothing but a verdict that was reached and is PASS gives a sample of 1:
errors are HTTP errors, with a status that no client takes for an answer.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict

from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tidegate.adapters.http.schedule_metrics import ScheduleMetrics
from tidegate.domain.actor import Actor
from tidegate.domain.errors import AccessDenied, Conflict, NotFound, TidegateError
from tidegate.domain.formats import document
from tidegate.rollout.cluster.gate_service import Answer
from tidegate.scheduling.standing import ScheduleStanding

logger = logging.getLogger("tidegate.gates")
GATE = "/v1/models/{model}/releases/{digest}/gates/{gate}"
NAMES = {1: "pass", 0: "fail", -1: "error", None: "open"}
STATUS: dict[type[Exception], int] = {NotFound: 404, Conflict: 409, AccessDenied: 401}


def gate_app(
    answer: Callable[[str, str, str], Answer],
    ready: Callable[[], str],
    identify: Callable[[str], Actor],
    schedules: Callable[[], Sequence[ScheduleStanding]] | None = None,
) -> Starlette:
    """`ready` gives what is in the way of answering, empty when nothing is; `identify` who presents a token, and raises
    AccessDenied; `schedules` how scheduled work stands, for `/metrics`. Endpoints run in threads: they may block."""
    registry = CollectorRegistry()
    if schedules is not None:
        registry.register(ScheduleMetrics(schedules))
    asked = Counter("tidegate_gate_answers", "Verdicts asked for", ["model", "gate", "answer"], registry=registry)

    def caller(request: Request) -> Actor | None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if not scheme:
            return None
        if scheme.lower() != "bearer" or not token.strip():
            raise AccessDenied("the header 'authorization' is not of the form 'Bearer TOKEN'; send that or none")
        return identify(token.strip())

    def ask(request: Request) -> Answer:
        model, digest, gate = (request.path_params[name] for name in ("model", "digest", "gate"))
        try:
            found = answer(model, digest, gate)
        except TidegateError:
            asked.labels("", "", "refused").inc()  # names that a client made up are no labels
            raise
        asked.labels(model, gate, NAMES[found.sample]).inc()
        return found

    def verdict(request: Request) -> Response:
        who = caller(request)
        found = ask(request)
        return JSONResponse(asdict(found) | {"asked_by": document(who)})

    def query(request: Request) -> Response:
        caller(request)
        found = ask(request)
        labels = {"__name__": "tidegate_gate_verdict", "gate": found.gate, "release": found.release}
        samples = [] if found.sample is None else [{"metric": labels, "value": [time.time(), str(found.sample)]}]
        return JSONResponse({"status": "success", "data": {"resultType": "vector", "result": samples}})

    def readyz(_: Request) -> Response:
        problem = ready()
        return JSONResponse({"ready": not problem, "problem": problem}, 503 if problem else 200)

    def livez(_: Request) -> Response:
        return JSONResponse({"live": True})

    def metrics(_: Request) -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    routes = [
        Route(GATE, verdict),
        Route(f"{GATE}/api/v1/query", query, methods=["GET", "POST"]),
        Route("/livez", livez),
        Route("/readyz", readyz),
        Route("/metrics", metrics),
    ]
    return Starlette(routes=routes, exception_handlers={TidegateError: _refused, Exception: _defect})


def _refused(_: Request, error: Exception) -> Response:
    status = next((code for kind, code in STATUS.items() if isinstance(error, kind)), 503)
    return JSONResponse({"status": "error", "errorType": type(error).__name__, "error": str(error)}, status)


def _defect(_: Request, error: Exception) -> Response:
    logger.error("a defect", exc_info=error)
    return JSONResponse({"status": "error", "errorType": "internal", "error": "a defect, see the log"}, 500)
