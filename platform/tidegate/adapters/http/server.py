"""Serving a small application of a process of the control plane until SIGTERM."""

from __future__ import annotations

from typing import Any


def serve(app: Any, host: str, port: int) -> None:
    """Serve the ASGI application `app` until SIGTERM; requests under way get five seconds."""
    import uvicorn

    uvicorn.run(app, host=host, port=port, log_level="warning", timeout_graceful_shutdown=5)
