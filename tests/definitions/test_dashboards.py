"""The charts' Grafana dashboards: whole documents, with queries that Prometheus can parse of metrics that something emits."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tidegate.adapters.http.gates import gate_app
from tidegate.adapters.http.monitor import Looks
from tidegate.serving.runtime.inference_log import Identity, InferenceLog
from tidegate.serving.runtime.metrics import ServingMetrics

GOLDEN = Path(__file__).resolve().parents[2] / "tests/golden/charts"
PROMTOOL = shutil.which("promtool")


def objects(name: str) -> list[dict[str, Any]]:
    return [document for document in yaml.load_all((GOLDEN / f"{name}.yaml").read_text(), yaml.CSafeLoader) if document]


def dashboards() -> dict[str, dict[str, Any]]:
    """By ConfigMap."""
    found = {}
    for document in objects("tidegate-full"):
        if document["metadata"].get("labels", {}).get("grafana_dashboard"):
            ((_, text),) = document["data"].items()
            found[document["metadata"]["name"]] = json.loads(text)
    return found


DASHBOARDS = dashboards()
QUERIES = [
    pytest.param(target["expr"], id=f"{name} {panel['title']} {target['legendFormat']}")
    for name, dashboard in DASHBOARDS.items()
    for panel in dashboard["panels"]
    for target in panel["targets"]
]


def emitted(folder: Path) -> set[str]:
    """Names of all series of ours: of replicas, gate service and monitor, and what the models' rules record."""
    log = InferenceLog(folder, Identity("demand", "a" * 64, "blue", "0"))
    pages = [ServingMetrics(log, {"model": "", "version": "", "release": "", "slot": "", "replica": ""}).exposition().decode()]
    log.close()
    names = set(re.findall(r"^# TYPE (\S+)", "\n".join(pages), re.MULTILINE))
    names |= {f"{name}{end}" for name in tuple(names) for end in ("_bucket", "_count", "_sum")}
    names |= {family.name for family in Looks().collect()}
    rules = [d for name in ("model-bento", "model-triton-gpu") for d in objects(name) if d["kind"] == "PrometheusRule"]
    names |= {rule["record"] for d in rules for group in d["spec"]["groups"] for rule in group["rules"] if "record" in rule}
    return names | {"tidegate_gate_answers_total"}


def test_the_gate_service_counts_its_answers() -> None:
    from starlette.testclient import TestClient

    def refuse(*_: str) -> Any:
        from tidegate.domain.errors import NotFound

        raise NotFound("none")

    client = TestClient(gate_app(refuse, lambda: "", refuse))
    client.get("/v1/models/m/releases/d/gates/g")
    assert 'tidegate_gate_answers_total{answer="refused"' in client.get("/metrics").text


@pytest.mark.parametrize("name", DASHBOARDS)
def test_a_dashboard_is_whole(name: str) -> None:
    dashboard = DASHBOARDS[name]
    assert dashboard["uid"] == name
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"]) > 3
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in dashboard["panels"]}
    assert len(places) == len(dashboard["panels"])
    variables = {variable["name"] for variable in dashboard["templating"]["list"]}
    for panel in dashboard["panels"]:
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert panel["targets"]
        used = set(re.findall(r"\$(\w+)", json.dumps(panel["targets"]))) | {"source"}
        assert used <= variables


def test_there_is_one_for_serving_releases_and_gateway() -> None:
    assert set(DASHBOARDS) == {"tidegate-dashboard-serving", "tidegate-dashboard-releases", "tidegate-dashboard-gateway"}


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not on this machine (Debian's package prometheus)")
@pytest.mark.parametrize("query", QUERIES)
def test_prometheus_can_parse_a_query(query: str, tmp_path: Path) -> None:
    rules = {"groups": [{"name": "g", "rules": [{"record": "r", "expr": query.replace("$model", "demand")}]}]}
    (tmp_path / "rules.yaml").write_text(json.dumps(rules))
    assert PROMTOOL is not None
    done = subprocess.run([PROMTOOL, "check", "rules", "rules.yaml"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_is_of_something_that_is_emitted(query: str, tmp_path: Path) -> None:
    """Envoy's own metrics are looked for on a real gateway, by the tests on a cluster."""
    asked = set(re.findall(r"tidegate[a-z0-9_:]*(?=[\{\[\)]| *$)", re.sub(r'"[^"]*"', '""', query)))
    assert asked <= emitted(tmp_path)
    assert asked or "envoy_" in query
