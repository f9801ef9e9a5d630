"""The slot's ASGI application: the release's own routes, and nothing else.

It reads a body within its limit, answers, counts, and offers the request to the inference log. Each answer carries
`x-tidegate-release`, `x-request-id` and, when the client gave an id of its own, `x-client-request-id`. While draining it
answers with `connection: close`, so that clients with kept-alive connections move on by themselves.

Small predictions over a quick store run on the event loop: a thread would cost a tenth of their time. Large bodies, and all
predictions while the store is not known to be quick (see `store_guard`), run one after the other in one thread, and readiness,
which asks the store, in another: liveness waits for none of them. BentoML's application gets the lifespan alone: a route of
its own would predict without a record.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tidegate.domain.clocks import process_clock
from tidegate.domain.errors import NotFound, TidegateError, Unavailable
from tidegate.serving.runtime.endpoint import MalformedRequest
from tidegate.serving.runtime.http_routes import Answer, Exchange, Route, Routes, failure, media_type, refusal
from tidegate.serving.runtime.inference_log import InferenceLog, Served
from tidegate.serving.runtime.metrics import ServingMetrics
from tidegate.serving.runtime.request_identity import RequestIdentity, identify
from tidegate.serving.runtime.shown import redacted, shown

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]

logger = logging.getLogger("tidegate.serving")

DISCARD_LIMIT = 16 * 1024 * 1024  # of a body too large, so much is read before the connection is given up
INLINE_BYTES = 64 * 1024  # a larger body is read and computed in a thread


class BodyTooLarge(Exception):
    """The body exceeds the limit; `read_whole` says whether the connection can be kept."""

    def __init__(self, read_whole: bool) -> None:
        super().__init__()
        self.read_whole = read_whole


class ServingApp:
    """ASGI application of one process. `lifespan` is the application behind it, which is told of start and stop."""

    def __init__(self, routes: Routes, metrics: ServingMetrics, log: InferenceLog, lifespan: AsgiApp, body_limit: int) -> None:
        self._routes, self._metrics, self._log, self._lifespan = routes, metrics, log, lifespan
        self._body_limit, self._discard_limit = body_limit, max(DISCARD_LIMIT, body_limit)
        self._release = routes.release_id.encode()
        self._draining = False
        self._clock = process_clock()
        self._predicting = ThreadPoolExecutor(1, "predict")
        self._asking = ThreadPoolExecutor(1, "readiness")

    def drain(self) -> None:
        """From now on not ready, and each answer closes its connection."""
        self._draining = self._routes.draining = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._lifespan(scope, receive, send)
            return
        started = time.perf_counter()
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        who = identify(scope["headers"])
        self._metrics.started()
        name, status = "other", 500
        try:
            route, refused = self._find(scope, headers)
            name = route.name if route else "other"
            if refused is None and route is not None:
                answer = await self._answer(route, scope, headers, receive)
            else:
                answer = refused or failure(404, "unknown path")
            status = answer.status
            if route is not None and route.logged:
                served = Served(
                    who.id,
                    self._clock(),
                    who.shadow,
                    status,
                    (time.perf_counter() - started) * 1e3,
                    answer.prediction,
                    redacted(answer.error, self._routes.words) if answer.error else "",
                    who.client_id,
                    route.name,
                )
                self._log.offer(served)
            await self._send(send, answer, who, scope["method"] == "HEAD")
        finally:
            self._metrics.finished(name, status, who.shadow, time.perf_counter() - started)

    async def fail(self, scope: Scope, send: Send) -> None:
        """Answer 500 for an exception that was raised around this application, and log its traceback."""
        logger.exception("%s %s failed in the release's middleware", scope["method"], shown(scope["path"]))
        who = identify(scope["headers"])
        self._metrics.started()
        self._metrics.finished("middleware", 500, who.shadow, 0.0)
        await self._send(send, failure(500, "internal error; the server's log has the details"), who)

    def _find(self, scope: Scope, headers: dict[str, str]) -> tuple[Route | None, Answer | None]:
        """The route, and the refusal when the request cannot be handled by it."""
        try:
            route = self._routes.find(scope["path"])
        except NotFound as error:
            return None, refusal(error)
        if scope["method"] != route.method and not (route.method == "GET" and scope["method"] == "HEAD"):
            told = f"method {shown(scope['method'])} is not allowed on {shown(scope['path'])}"
            return route, failure(405, told, allow=route.method)
        if route.method == "POST":
            kind = media_type(headers)
            if kind and kind not in route.media_types:
                required = " or ".join(route.media_types)
                return route, failure(415, f"content type {shown(kind)} is not allowed, required {required}")
            if headers.get("content-encoding", "identity") != "identity":
                return route, failure(415, "compressed bodies are not supported, send it with content-encoding identity")
        return route, None

    async def _answer(self, route: Route, scope: Scope, headers: dict[str, str], receive: Receive) -> Answer:
        try:
            body = await self._read(headers, receive) if route.method == "POST" else b""
        except MalformedRequest as error:
            return refusal(error)
        except BodyTooLarge as error:
            extra = {} if error.read_whole else {"connection": "close"}
            return failure(413, f"the body is larger than {self._body_limit} bytes, which is the limit", **extra)
        exchange = Exchange(scope["method"], scope["path"], headers, body)
        if route.asks:
            return await asyncio.get_running_loop().run_in_executor(self._asking, _handled, route, exchange)
        if route.logged and (len(body) > INLINE_BYTES or not self._routes.quick):
            return await asyncio.get_running_loop().run_in_executor(self._predicting, _handled, route, exchange)
        return _handled(route, exchange)

    async def _read(self, headers: dict[str, str], receive: Receive) -> bytes:
        """The whole body; of one that is too large at most `_discard_limit` is read, so that the client sees the answer."""
        length = headers.get("content-length", "")
        if length.isdigit() and int(length) > self._discard_limit:
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
            elif size > self._discard_limit:
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


def _handled(route: Route, exchange: Exchange) -> Answer:
    try:
        return route.handle(exchange)
    except TidegateError as error:
        answer = refusal(error)
        if answer.status >= 500 and not isinstance(error, Unavailable):
            logger.error("%s %s: %s", exchange.method, exchange.path, error)
        return answer
    except Exception:
        logger.exception("%s %s failed", exchange.method, exchange.path)
        return failure(500, "internal error; the server's log has the details")


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
