"""The slot's ASGI application: hot routes first, everything else to the BentoML service behind it.

It reads a body within its limit, answers, counts, and offers the request to the inference log. Each answer carries
`x-tidegate-release`, `x-request-id` and, when the client gave an id of its own, `x-client-request-id`. While draining it
answers with `connection: close`, so that clients with kept-alive connections move on by themselves. The online read and the
model run on the event loop: both are short, and a thread would cost more than it saves (limit: a very large batch delays
its neighbours).
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from tidegate.domain.clocks import process_clock
from tidegate.domain.errors import NotFound, TidegateError
from tidegate.serving.runtime.endpoint import MalformedRequest
from tidegate.serving.runtime.http_routes import JSON, Answer, Exchange, Route, Routes, failure, media_type, refusal
from tidegate.serving.runtime.inference_log import InferenceLog, Served
from tidegate.serving.runtime.metrics import ServingMetrics
from tidegate.serving.runtime.request_identity import RequestIdentity, identify

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]

logger = logging.getLogger("tidegate.serving")

PICKLE = "application/vnd.bentoml+pickle"
BENTOML_PATHS = {"/openapi.json": "/docs.json"}  # where people look for the document, and where BentoML has it
BODY_LIMIT = 1024 * 1024
DISCARD_LIMIT = 16 * BODY_LIMIT  # of a body too large, so much is read before the connection is given up


class BodyTooLarge(Exception):
    """The body exceeds the limit; `read_whole` says whether the connection can be kept."""

    def __init__(self, read_whole: bool) -> None:
        super().__init__()
        self.read_whole = read_whole


class ServingApp:
    """ASGI application of one process. `fallback` is BentoML's application and gets the lifespan."""

    def __init__(
        self, routes: Routes, metrics: ServingMetrics, log: InferenceLog, fallback: AsgiApp, body_limit: int = BODY_LIMIT
    ) -> None:
        self._routes, self._metrics, self._log, self._fallback = routes, metrics, log, fallback
        self._body_limit = body_limit
        self._release = routes.release_id.encode()
        self._draining = False
        self._clock = process_clock()

    def drain(self) -> None:
        """From now on not ready, and each answer closes its connection."""
        self._draining = self._routes.draining = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._fallback(scope, receive, send)
            return
        started = time.perf_counter()
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        who = identify(scope["headers"])
        self._metrics.started()
        name, status = "other", 500
        try:
            route, refused = self._find(scope, headers)
            if route is None and refused is None:
                name = "service"
                status = await self._pass_on(scope, headers, receive, send, who)
                return
            name = route.name if route else "other"
            answer = refused or await self._answer(route, scope, headers, receive)  # type: ignore[arg-type]
            status = answer.status
            if route is not None and route.logged:
                served = Served(
                    who.id,
                    self._clock(),
                    who.shadow,
                    status,
                    (time.perf_counter() - started) * 1e3,
                    answer.prediction,
                    answer.error,
                    who.client_id,
                    route.name,
                )
                self._log.offer(served)
            await self._send(send, answer, who, scope["method"] == "HEAD")
        finally:
            self._metrics.finished(name, status, who.shadow, time.perf_counter() - started)

    async def fail(self, scope: Scope, send: Send) -> None:
        """Answer 500 for an exception that was raised around this application, and log its traceback."""
        logger.exception("%s %s failed in the release's middleware", scope["method"], scope["path"])
        who = identify(scope["headers"])
        self._metrics.started()
        self._metrics.finished("middleware", 500, who.shadow, 0.0)
        await self._send(send, failure(500, "internal error; the server's log has the details"), who)

    def _find(self, scope: Scope, headers: dict[str, str]) -> tuple[Route | None, Answer | None]:
        """The route, and the refusal when the request cannot be handled by it; neither means: pass it on."""
        try:
            route = self._routes.find(scope["path"])
        except NotFound as error:
            return None, refusal(error)
        kind = media_type(headers)
        if kind == PICKLE:
            return route, failure(415, f"content type {PICKLE} is not allowed, required {JSON}")
        if route is None:
            return None, None
        if scope["method"] != route.method and not (route.method == "GET" and scope["method"] == "HEAD"):
            return route, failure(405, f"method {scope['method']} is not allowed on {scope['path']}", allow=route.method)
        if route.method == "POST":
            if kind and kind not in route.media_types:
                return route, failure(
                    415, f"content type {kind[:100]} is not allowed, required {' or '.join(route.media_types)}"
                )
            if headers.get("content-encoding", "identity") != "identity":
                return route, failure(415, "compressed bodies are not supported, send it with content-encoding identity")
        return route, None

    async def _answer(self, route: Route, scope: Scope, headers: dict[str, str], receive: Receive) -> Answer:
        try:
            body = await self._read(headers, receive) if route.method == "POST" else b""
            return route.handle(Exchange(scope["method"], scope["path"], headers, body))
        except TidegateError as error:
            answer = refusal(error)
            if answer.status >= 500:
                logger.error("%s %s: %s", scope["method"], scope["path"], error)
            return answer
        except BodyTooLarge as error:
            extra = {} if error.read_whole else {"connection": "close"}
            return failure(413, f"the body is larger than {self._body_limit} bytes, which is the limit", **extra)
        except Exception:
            logger.exception("%s %s failed", scope["method"], scope["path"])
            return failure(500, "internal error; the server's log has the details")

    async def _read(self, headers: dict[str, str], receive: Receive) -> bytes:
        """The whole body; of one that is too large at most DISCARD_LIMIT is read, so that the client sees the answer."""
        length = headers.get("content-length", "")
        if length.isdigit() and int(length) > DISCARD_LIMIT:
            raise BodyTooLarge(read_whole=False)
        chunks: list[bytes] = []
        size, more = 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise MalformedRequest("the client left before its whole body had arrived")
            chunk = message.get("body", b"")
            more = message.get("more_body", False)
            size += len(chunk)
            if size <= self._body_limit:
                chunks.append(chunk)
            elif size > DISCARD_LIMIT:
                raise BodyTooLarge(read_whole=False)
        if size > self._body_limit:
            raise BodyTooLarge(read_whole=True)
        return b"".join(chunks)

    async def _send(self, send: Send, answer: Answer, who: RequestIdentity, head: bool = False) -> None:
        headers = [
            (b"content-type", answer.content_type.encode()),
            (b"content-length", str(len(answer.body)).encode()),
            *self._own_headers(who),
        ]
        headers += [(name.lower().encode(), value.encode("latin-1")) for name, value in answer.headers.items()]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if head else answer.body})

    def _own_headers(self, who: RequestIdentity) -> list[tuple[bytes, bytes]]:
        own = [(b"x-tidegate-release", self._release), *who.headers()]
        return [*own, (b"connection", b"close")] if self._draining else own

    async def _pass_on(self, scope: Scope, headers: dict[str, str], receive: Receive, send: Send, who: RequestIdentity) -> int:
        """To BentoML, with our limit on the body, our headers, and `{"error": ...}` for its plain-text errors."""
        scope = {**scope, "path": BENTOML_PATHS.get(scope["path"], scope["path"])}
        try:
            body = await self._read(headers, receive)
            if body and scope["method"] == "POST" and media_type(headers) in ("", JSON):
                json.loads(body)  # BentoML answers 500 to malformed JSON
        except BodyTooLarge:
            await self._send(send, failure(413, f"the body is larger than {self._body_limit} bytes"), who)
            return 413
        except MalformedRequest as error:
            await self._send(send, refusal(error), who)
            return 400
        except (ValueError, RecursionError) as error:
            await self._send(send, failure(400, f"the body is not JSON: {error}"), who)
            return 400
        status, replaced = 500, False
        whole = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            return whole.pop() if whole else await receive()

        async def forward(message: Message) -> None:
            nonlocal status, replaced
            if message["type"] == "http.response.start":
                status = message["status"]
                kind = dict(message["headers"]).get(b"content-type", b"")
                replaced = status in (404, 405) and not kind.startswith(b"application/json")
                if replaced:
                    text = (
                        f"unknown path {scope['path'][:200]}" if status == 404 else f"method {scope['method']} is not allowed"
                    )
                    await self._send(send, failure(status, text), who)
                    return
                message["headers"] = [*message["headers"], *self._own_headers(who)]
            if not replaced:
                await send(message)

        await self._fallback(scope, replay, forward)
        return status


class Guarded:
    """Around what a release's middleware made of `app`: an exception in it is this release's answer, a 500 that carries the
    release and is counted, and not a connection that breaks."""

    def __init__(self, wrapped: AsgiApp, app: ServingApp) -> None:
        self._wrapped, self._app = wrapped, app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._wrapped(scope, receive, watched)
        except Exception:
            if scope["type"] != "http" or started:
                raise
            await self._app.fail(scope, send)
