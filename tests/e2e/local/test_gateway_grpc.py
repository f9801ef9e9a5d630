"""gRPC through the chart's gateway: a real Envoy with the chart's own routes and clusters, before servers that speak HTTP/2."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

from story import eventually, free_ports
from tidegate.adapters.envoy import chart
from tidegate.adapters.envoy.routes import envoy_binary

pytestmark = pytest.mark.e2e
SERVICE = "/inference.GRPCInferenceService/"
Call = Callable[..., bytes]


class Server(grpc.GenericRpcHandler):
    """Answers each method with its own name and the method's, and keeps the metadata that it was sent."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.seen: list[dict[str, Any]] = []
        self.server = grpc.server(ThreadPoolExecutor(4), handlers=[self])
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()

    def service(self, details: Any) -> Any:
        self.seen.append(dict(details.invocation_metadata))
        return grpc.unary_unary_rpc_method_handler(lambda body, _: f"{self.name} {details.method} ".encode() + body)


def configuration(ports: dict[str, int], servers: list[Server]) -> dict[str, Any]:
    """The chart's files for these models, inlined: what helm puts in between @, and loopback for addresses."""
    files, bootstrap = chart.files(), chart.bootstrap()

    def filled(part: Any, server: Server) -> Any:
        words = {"@MODEL@": server.name, "@RELEASE@": "r", "@NAMESPACE@": "models", "@TIMEOUT@": "5"}
        text = (
            json.dumps(part)
            .replace('"@PORT@"', "9")
            .replace('"@BODY_LIMIT@"', "1048576")
            .replace('"@GRPC_PORT@"', str(server.port))
        )
        for word, value in words.items():
            text = text.replace(word, value)
        return json.loads(text)

    clusters, routes = [], []
    for server in servers:
        routes += filled(files["routes.json"]["model"] + files["routes.json"]["model_grpc"], server)
        clusters += filled(files["clusters.json"]["model"] + files["clusters.json"]["model_grpc"], server)
    for name in ("default_grpc", "default"):
        routes += filled(files["routes.json"][name], servers[0])
    table = files["routes.json"]["table"]
    table["virtual_hosts"][0]["routes"] = routes
    listeners = bootstrap["static_resources"]["listeners"]
    for each, name in zip([*listeners, bootstrap["admin"]], ("gatewayPort", "slotPorts", "adminPort"), strict=True):
        each["address"]["socket_address"] |= {"address": "127.0.0.1", "port_value": ports[name]}
    for cluster in clusters:
        endpoint = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]
        endpoint["address"]["socket_address"]["address"] = "127.0.0.1"
    manager = listeners[0]["filter_chains"][0]["filters"][0]["typed_config"]
    del manager["rds"], bootstrap["dynamic_resources"]
    manager["route_config"] = {key: value for key, value in table.items() if key != "@type"}
    bootstrap["static_resources"]["clusters"] += [{k: v for k, v in each.items() if k != "@type"} for each in clusters]
    return bootstrap


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[tuple[Call, list[Server]]]:
    servers, ports = [Server("demand"), Server("returns")], free_ports()
    file = tmp_path / "envoy.json"
    file.write_text(json.dumps(configuration(ports, servers)))
    command = [envoy_binary(), "-c", str(file), "--disable-hot-restart", "--concurrency", "1", "-l", "warning"]
    with (tmp_path / "access.jsonl").open("wb") as log, (tmp_path / "envoy.log").open("wb") as errors:
        process = subprocess.Popen(command, stdout=log, stderr=errors)
    channel = grpc.insecure_channel(f"127.0.0.1:{ports['gatewayPort']}")

    def call(method: str, *metadata: tuple[str, str]) -> bytes:
        return channel.unary_unary(SERVICE + method)(b"body", metadata=metadata, timeout=10)

    try:
        grpc.channel_ready_future(channel).result(20)
        yield call, servers
        eventually(lambda: "ModelInfer" in (tmp_path / "access.jsonl").read_text() or None)
    finally:
        channel.close()
        process.kill()
        process.wait()
        for server in servers:
            server.server.stop(None)


def test_each_model_is_reached_by_its_name_and_the_default_one_without(gateway: tuple[Call, list[Server]]) -> None:
    call, (demand, returns) = gateway
    assert call("ModelInfer") == b"demand /inference.GRPCInferenceService/ModelInfer body"
    assert call("ModelInfer", ("x-model", "returns")) == b"returns /inference.GRPCInferenceService/ModelInfer body"
    assert call("ServerReady", ("x-model", "demand")).startswith(b"demand ")
    assert (len(demand.seen), len(returns.seen)) == (2, 1)


def test_what_streams_or_is_not_of_the_protocol_does_not_get_through_and_who_calls_is_no_platform(
    gateway: tuple[Call, list[Server]],
) -> None:
    call, servers = gateway
    call("ModelInfer", ("x-tidegate-pod", "forged"), ("x-request-id", "mine"))
    (seen,) = servers[0].seen
    assert seen.get("x-tidegate-pod") is None
    assert seen["x-client-request-id"] == "mine"
    assert seen["x-request-id"] != "mine"
    for method in ("RepositoryModelUnload", "SystemSharedMemoryRegister", "TraceSetting", "ModelStreamInfer"):
        with pytest.raises(grpc.RpcError) as refused:
            call(method)
        assert refused.value.code() == grpc.StatusCode.UNIMPLEMENTED, refused.value
    assert len(servers[0].seen) == 1
