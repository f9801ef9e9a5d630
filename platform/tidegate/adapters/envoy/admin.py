"""Envoy's administration on the local target: a Unix socket in a folder that only its owner enters.

Whoever reaches the admin interface can drain or stop the gateway, and a port on loopback is reached by every user of the
machine. What may be read by all, readiness and counters, is served by a listener of its own on `adminPort`.

Paths of Unix sockets are limited to 107 bytes, and state folders may lie deeper: Envoy runs in the socket's folder and
names it relatively, clients reach it through `/proc/self/fd`. The folder must be on a file system that has sockets.
"""

from __future__ import annotations

import http.client
import os
import socket
from pathlib import Path
from typing import Any

from tidegate.domain.errors import Unavailable

SOCKET = "admin.sock"
SHOWN = ("/ready", "/stats/prometheus")
CLUSTER = "admin"
HTTP_MANAGER = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
Json = dict[str, Any]


def admin_address() -> Json:
    """For a process that runs in the socket's folder."""
    return {"pipe": {"path": SOCKET, "mode": 0o600}}


def admin_cluster() -> Json:
    endpoint = {"endpoint": {"address": {"pipe": {"path": SOCKET}}}}
    assignment = {"cluster_name": CLUSTER, "endpoints": [{"lb_endpoints": [endpoint]}]}
    return {"name": CLUSTER, "type": "STATIC", "connect_timeout": "1s", "load_assignment": assignment}


def shown_listener(address: Json) -> Json:
    """What every user of the machine may read: GET of the pages in SHOWN, and nothing else."""
    get = [{"name": ":method", "string_match": {"exact": "GET"}}]
    routes: list[Json] = [{"match": {"path": path, "headers": get}, "route": {"cluster": CLUSTER}} for path in SHOWN]
    routes.append({"match": {"prefix": "/"}, "direct_response": {"status": 404}})
    manager = {
        "@type": HTTP_MANAGER,
        "stat_prefix": "shown",
        "normalize_path": True,
        "route_config": {"virtual_hosts": [{"name": "shown", "domains": ["*"], "routes": routes}]},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": ROUTER}}],
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    return {"name": "shown", "address": address, "enable_reuse_port": False, "filter_chains": [{"filters": filters}]}


class AdminClient:
    """Envoy's admin interface behind the socket in `folder`; every failure is Unavailable."""

    def __init__(self, folder: Path, timeout: float = 2.0) -> None:
        self.folder, self.timeout = folder, timeout

    def get(self, path: str) -> str:
        return self._request("GET", path)

    def post(self, path: str) -> str:
        return self._request("POST", path)

    def _request(self, method: str, path: str) -> str:
        connection = _Connection(self.folder, self.timeout)
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            content = answer.read().decode()
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Unavailable(
                f"asking Envoy for {path.partition('?')[0]} at {self.folder / SOCKET}: {error}; "
                "does the gateway run ('tidegate status')?"
            ) from error
        finally:
            connection.close()
        if answer.status != 200:
            raise Unavailable(
                f"asking Envoy for {path.partition('?')[0]}: it answered {answer.status}: {content.strip()[:200]}"
            )
        return content


class _Connection(http.client.HTTPConnection):
    def __init__(self, folder: Path, timeout: float) -> None:
        super().__init__("admin", timeout=timeout)
        self.folder = folder

    def connect(self) -> None:
        folder = os.open(self.folder, os.O_PATH | os.O_DIRECTORY)
        try:
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.sock.settimeout(self.timeout)
            self.sock.connect(f"/proc/self/fd/{folder}/{SOCKET}")
        finally:
            os.close(folder)
