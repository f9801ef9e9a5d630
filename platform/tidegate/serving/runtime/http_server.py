"""One process, one port, one event loop (uvloop), and a stop that loses nothing.

On SIGTERM or SIGINT: the listening socket is closed after what waits in its backlog was accepted, the application starts
to drain (every answer closes its connection, so kept-alive clients leave by themselves), connections still open after
`drain_seconds` are closed as soon as they are idle, requests in flight are finished, then the process ends. A client
that sends on an idle connection in the very instant it is closed sees a reset, as HTTP/1.1 has it; with the drain before it
that takes a client which was silent for `drain_seconds`.
"""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
from collections.abc import Callable

import uvicorn
import uvloop

from tidegate.domain.errors import Unavailable
from tidegate.serving.runtime.http_app import AsgiApp

KEEP_ALIVE_SECONDS = 75  # longer than the proxy keeps an idle connection, so that the proxy is the one who closes it
GRACE_SECONDS = 30


def bind(host: str, port: int) -> socket.socket:
    """A bound socket that does not listen yet; raises Unavailable naming a port that is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise Unavailable(
            f"cannot listen on {host}:{port}: {error.strerror or error}; stop what uses it or choose another port"
        ) from error
    return listener


def serve(
    app: AsgiApp, listener: socket.socket, drain: Callable[[], None], started: Callable[[], None], drain_seconds: float
) -> None:
    """Serve `app` on `listener` until a signal; returns once everything in flight was answered.

    `started` is called when requests are taken, `drain` when the stop begins.
    """
    config = uvicorn.Config(
        app,
        loop="none",
        http="httptools",
        ws="none",
        lifespan="on",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        date_header=True,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACE_SECONDS,
        proxy_headers=False,
    )
    uvloop.run(_serve(_DrainingServer(config, drain, drain_seconds), listener, started))


async def _serve(server: _DrainingServer, listener: socket.socket, started: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.stop)
    loop.add_signal_handler(signal.SIGHUP, lambda: None)  # the terminal that started it may go away
    serving = asyncio.ensure_future(server._serve([listener]))
    while not server.started and not serving.done():
        await asyncio.sleep(0.005)
    if server.started:
        gc.collect()
        gc.freeze()  # a full collection over the start-up heap takes tens of milliseconds
        started()
    await serving


class _DrainingServer(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, drain: Callable[[], None], drain_seconds: float) -> None:
        super().__init__(config)
        self._drain, self._drain_seconds = drain, drain_seconds

    def stop(self) -> None:
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._drain()
        await asyncio.sleep(0.02)  # accept what the kernel had already completed
        for server in self.servers:
            server.close()
        deadline = asyncio.get_running_loop().time() + self._drain_seconds
        while self.server_state.connections and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.01)
        await super().shutdown(sockets)
