"""`tidegate registry ui`: MLflow's page on this machine, or where it is."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from tidegate.apps import wiring
from tidegate.domain.errors import Unavailable
from tidegate.domain.local import LOOPBACK
from tidegate.domain.project import Project
from tidegate.files.layout import StateFolder


def page_address(port: int, model: str | None = None, version: str | None = None) -> tuple[str, bool]:
    """Where the page of the registry is, at a model or a version by number, and whether a server has it already. Raises
    InvalidInput for a registry that has no page."""
    from tidegate.adapters.mlflow.page import link, remote_page

    remote = remote_page()
    return link(remote or f"http://{LOOPBACK}:{port}", model, version), remote is not None


def serve_page(project: Project, port: int, opened: Callable[[], None]) -> None:
    """Serve the page of the project's own registry on loopback until SIGINT or SIGTERM; `opened` is called as it
    begins to. Raises NotFound without a registry, Unavailable for a port that is taken."""
    from tidegate.adapters.http.server import serve

    if not wiring.processes(StateFolder(project.state)).port_free(port):
        raise Unavailable(f"MLflow's page: port {port} is taken by another process; name another one with --port")
    app = wiring.registry_page(project)
    opened()
    with suppress(KeyboardInterrupt):  # that is how people end it
        serve(app, LOOPBACK, port)
