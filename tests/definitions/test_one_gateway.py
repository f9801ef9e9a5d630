"""The gateway on one machine and the one of the chart, as helm renders it, do the same, but for what is listed here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tidegate.adapters.envoy import config, table
from tidegate.domain.local import LocalConfig
from tidegate.domain.slots import Slot
from tidegate.ports.local import ModelRoutes

CHART = Path(__file__).resolve().parents[1] / "golden/charts/tidegate-full.yaml"
MODELS = ("demand", "lead_time", "returns")
DISCOVERY = {"name", "type", "eds_cluster_config", "dns_lookup_family", "dns_refresh_rate", "load_assignment"}
OF_A_TARGET = {"rds", "stream_idle_timeout"}  # where routes come from; how long the slowest model may take
SLOTS = "a cluster's gateway has no slots: no header, no label and no counters name one"
Json = dict[str, Any]


@pytest.fixture(scope="module")
def chart() -> dict[str, Json]:
    documents = [each for each in yaml.safe_load_all(CHART.read_text()) if each and each["kind"] == "ConfigMap"]
    files = next(each["data"] for each in documents if "envoy.json" in each["data"])
    return {name: json.loads(text) for name, text in files.items()}


@pytest.fixture(scope="module")
def local() -> dict[str, Json]:
    models = [ModelRoutes(name, Slot.BLUE, True, {}) for name in MODELS]
    return {
        "envoy.json": config.bootstrap(LocalConfig(), Path("/x"), Path("/log")),
        "rds.json": table.route_configuration(LocalConfig(default_model="demand"), models),
        "cds.json": {"resources": config.clusters(models, Path("/x"))},
    }


def manager(files: dict[str, Json]) -> Json:
    found = files["envoy.json"]["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    found = {key: value for key, value in found.items() if key not in OF_A_TARGET}
    for log in found["access_log"]:
        log["typed_config"].pop("path")
    return found


def test_a_request_is_treated_alike_before_its_route(local: dict[str, Json], chart: dict[str, Json]) -> None:
    """Ids, bounds, whole bodies, sentences, access log."""
    assert manager(local) == manager(chart)
    assert local["envoy.json"]["stats_flush_interval"] == chart["envoy.json"]["stats_flush_interval"]


def test_replicas_are_treated_alike(local: dict[str, Json], chart: dict[str, Json]) -> None:
    """Limits, retries' budget, who is set aside; live and mirrored apart."""

    def treated(files: dict[str, Json], shadow: bool) -> list[Json]:
        found = [each for each in files["cds.json"]["resources"] if not each["name"].endswith("-grpc")]
        found = [each for each in found if each["name"].endswith("-shadow") is shadow]
        return [{key: value for key, value in each.items() if key not in DISCOVERY} for each in found]

    for shadow in (False, True):
        alike = treated(local, shadow) + treated(chart, shadow)
        assert len(alike) == 2 * len(MODELS) + len(MODELS)  # two slots each, and one of each
        assert all(each == alike[0] for each in alike)


def comparable(route: Json) -> Json:
    """Without names of clusters and slots: SLOTS. A model's time-out is its own."""
    route = json.loads(json.dumps(route))
    route.pop("response_headers_to_add", None)
    if "route" not in route:
        return route
    route["stat_prefix"] = route["stat_prefix"].replace("/blue/", "/")
    route["metadata"]["filter_metadata"]["tidegate"].pop("slot", None)
    for action in (route["route"], *route["route"].get("request_mirror_policies", ())):
        action.pop("cluster")
        action.pop("timeout", None)
    return route


def test_routes_are_alike_and_in_the_same_order(local: dict[str, Json], chart: dict[str, Json]) -> None:
    """But for gRPC, which no slot of one machine speaks, and counters of a slot that is not live: SLOTS."""
    of_local, of_chart = local["rds.json"], chart["rds.json"]["resources"][0]
    mine = [comparable(each) for each in of_local["virtual_hosts"][0]["routes"] if "/counters-of-" not in each["name"]]
    its = [comparable(each) for each in of_chart["virtual_hosts"][0]["routes"] if not each["name"].endswith("/grpc")]
    assert [each["name"] for each in mine] == [each["name"] for each in its]
    assert mine == its
    assert of_local["response_headers_to_add"] == of_chart["response_headers_to_add"]


def test_a_server_that_speaks_grpc_is_reached_by_http_2(chart: dict[str, Json]) -> None:
    clusters = {each["name"]: each for each in chart["cds.json"]["resources"]}
    assert [name for name in clusters if name.endswith("-grpc")] == ["tidegate-returns-active-grpc"]
    (options,) = clusters["tidegate-returns-active-grpc"]["typed_extension_protocol_options"].values()
    assert options["explicit_http_config"] == {"http2_protocol_options": {}}
    (locality,) = clusters["tidegate-returns-active-grpc"]["load_assignment"]["endpoints"]
    address = locality["lb_endpoints"][0]["endpoint"]["address"]["socket_address"]
    assert address == {"address": "returns-active.models.svc.cluster.local", "port_value": 8001}
