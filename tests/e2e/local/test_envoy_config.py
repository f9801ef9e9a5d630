"""Envoy itself accepts what we render: bootstrap, every kind of route, clusters and endpoints."""

import json
import subprocess
from pathlib import Path

import pytest

from tidegate.adapters.envoy import config as envoy_config
from tidegate.adapters.envoy.routes import envoy_binary
from tidegate.domain.local import LocalConfig
from tidegate.domain.slots import Slot
from tidegate.ports.local import ModelRoutes

ROUTES = [
    ModelRoutes("demand", Slot.BLUE, True, {Slot.BLUE: (9001, 9002), Slot.GREEN: (9003,)}),
    ModelRoutes("returns", Slot.GREEN, False, {Slot.GREEN: (9004,)}),
    ModelRoutes("empty"),
]


def everything_static(folder: Path) -> dict:
    """The same listener, routes and clusters, inlined: `--mode validate` does not read files of xDS."""
    config = LocalConfig(default_model="demand")
    routes = {key: value for key, value in envoy_config.route_configuration(config, ROUTES).items() if key != "@type"}
    clusters = []
    for cluster in envoy_config.clusters(ROUTES, folder):
        inline = {key: value for key, value in cluster.items() if key not in {"@type", "eds_cluster_config"}}
        assignment = envoy_config.load_assignment(cluster["name"], [9001, 9002])
        inline |= {"type": "STATIC", "load_assignment": {k: v for k, v in assignment.items() if k != "@type"}}
        clusters.append(inline)
    listener = envoy_config.listener(config, folder / "access.jsonl", {"route_config": routes})
    return {"static_resources": {"listeners": [listener], "clusters": clusters}}


@pytest.mark.e2e
@pytest.mark.parametrize("kind", ["dynamic", "static"])
def test_envoy_validates_the_rendered_configuration(tmp_path: Path, kind: str) -> None:
    if kind == "dynamic":
        for cluster in envoy_config.clusters(ROUTES, tmp_path):
            path = envoy_config.endpoints_file(tmp_path, cluster["name"])
            path.write_text(
                json.dumps({"version_info": "1", "resources": [envoy_config.load_assignment(cluster["name"], [1])]})
            )
        (tmp_path / "cds.json").write_text(
            json.dumps({"version_info": "1", "resources": envoy_config.clusters(ROUTES, tmp_path)})
        )
        routes = envoy_config.route_configuration(LocalConfig(), ROUTES)
        (tmp_path / "rds.json").write_text(json.dumps({"version_info": "1", "resources": [routes]}))
    rendered = (
        everything_static(tmp_path)
        if kind == "static"
        else envoy_config.bootstrap(LocalConfig(), tmp_path, tmp_path / "access.jsonl")
    )
    path = tmp_path / "bootstrap.json"
    path.write_text(json.dumps(rendered))
    done = subprocess.run([envoy_binary(), "--mode", "validate", "-c", str(path)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
