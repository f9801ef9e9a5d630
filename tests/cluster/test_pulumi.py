"""Pulumi's engine and its Kubernetes provider on a real cluster: preview, up, change, drift, destroy of one whole stack.

The tests are one stack's life, in this order, in one process. Real: engine, provider, encrypted state, API server, the
program, the platform's chart and its images, MLflow. Not real: Pulumi's language host (run_pulumi.py says what is in its
place), the operators' charts (`stand_in`), Postgres and the object store (MLflow keeps both in its pod).
"""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.cluster.access import ROOT, Kubernetes
from tests.cluster.one_node import recipes
from tests.cluster.platform_on_cluster import REDIS, build_images, provide_volumes, remove_volumes

from infra_program import SECRETS, given, objects, releases, run

pytestmark = pytest.mark.pulumi
REGION = "topology.kubernetes.io/region"
CLAIMS = ("tidegate-ledger", "data-tidegate-redis-0")
WORKLOADS = {"stores": {"mlflow"}, "tidegate": {f"tidegate-{name}" for name in ("gateway", "gates", "monitor", "redis")}}
KINDS = "namespace,resourcequota,limitrange,networkpolicy,secret,deployment,service"
STAND_IN = Path(__file__).parent / "stand_in"


@dataclass(frozen=True)
class Engine:
    """`settings` and `secrets` are those of the stack; what the engine keeps lies in `folder`."""

    kubernetes: Kubernetes
    folder: Path
    stack: str
    settings: Mapping[str, Any]
    secrets: Mapping[str, str]

    def run(self, operation: str, **changed: Any) -> dict[str, Any]:
        """What tests/cluster/run_pulumi.py says; `changed` are settings that differ this time."""
        programs = [str(recipe.output() / "bin") for recipe in recipes.ON_DEMAND]
        environment = dict(self.kubernetes.environment) | {
            "PATH": os.pathsep.join([*programs, self.kubernetes.environment["PATH"]]),
            "PULUMI_CONFIG_PASSPHRASE": "of this test",
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
        }
        command = [sys.executable, str(Path(__file__).parent / "run_pulumi.py"), operation, str(self.folder)]
        own = self.kubernetes.own
        asked = {"stack": self.stack, "settings": dict(self.settings) | changed, "secrets": dict(self.secrets)}
        done = subprocess.run(
            own.inside(*command) if own else command,
            env=environment,
            input=json.dumps(asked),
            capture_output=True,
            text=True,
            check=False,
            timeout=400,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)  # type: ignore[no-any-return]

    def done(self, operation: str, **changed: Any) -> dict[str, str]:
        """What an operation that has to succeed did, by the names of resources; nothing for what stays the same."""
        answer = self.run(operation, **changed)
        assert "error" not in answer, answer["error"]
        return answer["steps"]  # type: ignore[no-any-return]

    def wanted(self) -> set[tuple[str, str, str]]:
        """Kind, namespace and name of every object that the program registers for a stack, by Pulumi's test monitor."""
        rows = [(d["kind"], d["metadata"].get("namespace", ""), d["metadata"]["name"]) for d in objects(registered())]
        return {(kind, self.named(namespace), self.named(name)) for kind, namespace, name in rows}

    def found(self) -> set[tuple[str, str, str]]:
        """The same, of what is in the cluster."""
        everything = json.loads(self.kubernetes.kubectl("get", KINDS, "--all-namespaces", "-o", "json"))["items"]
        rows = {(d["kind"], d["metadata"].get("namespace", ""), d["metadata"]["name"]) for d in everything}
        return {row for row in rows if f"{row[1]}{row[2]}".startswith(f"{self.stack}-")}

    def named(self, of_dev: str) -> str:
        """The name that something of the stack `dev` has in this one."""
        return re.sub("^dev-", f"{self.stack}-", of_dev)


def registered() -> Any:
    return run("dev", given())


@pytest.fixture(scope="module")
def engine(kubernetes: Kubernetes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    if not all(recipe.built() for recipe in recipes.ON_DEMAND):
        names = " ".join(recipe.name for recipe in recipes.ON_DEMAND)
        pytest.skip(f"Pulumi's engine and provider are not built: python3 -m tests.cluster.one_node build {names}")
    node = json.loads(kubernetes.kubectl("get", "nodes", "-o", "json"))["items"][0]["metadata"]
    if kubernetes.own:
        kubernetes.kubectl("label", "node", node["name"], "--overwrite", f"{REGION}=eu-1")
    elif REGION not in node["labels"]:
        pytest.skip(f"the program selects nodes by their region, and node {node['name']} has no label {REGION}")
    region = "eu-1" if kubernetes.own else node["labels"][REGION]
    stack = f"t{os.urandom(3).hex()}"
    secrets = {name: os.urandom(12).hex() for name in SECRETS}
    secrets["mlflowDatabaseUrl"] = f"sqlite:////tmp/{secrets['mlflowDatabaseUrl']}.db"
    home = f"{stack}-tidegate"
    try:
        provide_volumes(kubernetes, home, CLAIMS)
        yield Engine(kubernetes, tmp_path_factory.mktemp("pulumi"), stack, settings(kubernetes, region), secrets)
    finally:
        kubernetes.kubectl("delete", "namespace", "-l", f"tidegate/stack={stack}", "--wait=false", check=False)
        remove_volumes(kubernetes, home, CLAIMS)
        if kubernetes.own:
            kubernetes.kubectl("label", "node", node["name"], f"{REGION}-")


def settings(kubernetes: Kubernetes, region: str) -> dict[str, Any]:
    """What a user has to set, of this cluster."""
    text = json.dumps({name: value for name, value in given().items() if name not in SECRETS}).replace('"eu-1"', f'"{region}"')
    wanted: dict[str, Any] = json.loads(text)
    wanted["quota"] = yaml.safe_load((ROOT / "infra/Pulumi.dev.yaml").read_text())["config"]["tidegate:quota"]
    wanted["objectStore"]["address"] = "/tmp/artifacts"  # noqa: S108 (of MLflow's pod)
    built = build_images(kubernetes, _quiet)
    ours = {"gateway": built.envoy, "gates": built.platform, "monitor": built.platform}
    wanted["images"] = {**ours, "mlflow": built.mlflow, "redis": built.redis}
    wanted["platform"] = {"redis": {"args": REDIS}}
    for name, operator in wanted["operators"].items():
        operator |= {"chart": str(STAND_IN), "values": {"operator": name}}
        del operator["repository"]
    for pool in wanted["nodePools"].values():
        pool["labels"] = {"kubernetes.io/os": "linux"}
    return wanted


def _quiet(_: str) -> None:
    return None


@pytest.fixture(scope="module")
def up(engine: Engine) -> dict[str, str]:
    return engine.done("up")


def test_a_stack_that_may_not_be_is_refused_before_anything_is_registered(engine: Engine) -> None:
    answer = engine.run("up", region="us-1")
    assert f"stack '{engine.stack}': the stack in 'us-1'; allowed are: " in answer["error"]
    assert set(answer["steps"]) <= {f"tidegate-{engine.stack}"}  # the stack itself, which the engine registers
    assert engine.found() == set()


def test_a_preview_makes_nothing(engine: Engine) -> None:
    steps = engine.done("preview")
    assert set(steps.values()) == {"create"}
    assert len(steps) >= len(registered())
    assert engine.found() == set()


def test_up_makes_all_of_it_and_waits_until_it_runs(engine: Engine, up: dict[str, str]) -> None:
    assert set(up.values()) == {"create"}
    assert engine.wanted() <= engine.found()
    for home, workloads in WORKLOADS.items():
        text = engine.kubernetes.kubectl("get", "deployments,statefulsets", "-n", f"{engine.stack}-{home}", "-o", "json")
        items = json.loads(text)["items"]
        assert {item["metadata"]["name"] for item in items} == workloads
        for item in items:
            assert item["status"]["readyReplicas"] == item["spec"]["replicas"] > 0, item["metadata"]["name"]
    for release in releases(registered()):
        if release["name"] != "tidegate":
            at = engine.named(release["namespace"])
            text = engine.kubernetes.kubectl("get", "configmap", f"{release['name']}-given", "-n", at, "-o", "json")
            assert json.loads(json.loads(text)["data"]["values"])["operator"] == release["name"]


def test_the_gate_service_reaches_mlflow_and_mlflow_reaches_no_gateway(engine: Engine, up: dict[str, str]) -> None:
    """By name, through the NetworkPolicies of both namespaces."""
    home, stores = (f"{engine.stack}-{role}" for role in ("tidegate", "stores"))
    path = f"http://mlflow.{stores}.svc:5000/api/2.0/mlflow/experiments/get?experiment_id=0"
    said = engine.kubernetes.kubectl("exec", "-n", home, "deployment/tidegate-gates", "--", *asking(path))
    assert json.loads(said)["experiment"]["artifact_location"].startswith("mlflow-artifacts:")
    if engine.kubernetes.own:  # others may not enforce them
        gateway = asking(f"http://tidegate-gateway.{home}.svc/")
        said = engine.kubernetes.refused("exec", "-n", stores, "deployment/mlflow", "--", *gateway)
        assert "timed out" in said or "Connection refused" in said


def asking(url: str) -> list[str]:
    return ["/usr/bin/python3", "-c", f"from urllib.request import urlopen; print(urlopen('{url}', timeout=5).read().decode())"]


def test_secrets_are_in_the_cluster_and_nowhere_else_in_plain_text(engine: Engine, up: dict[str, str]) -> None:
    text = engine.kubernetes.kubectl("get", "secret", "mlflow-stores", "-n", f"{engine.stack}-stores", "-o", "json")
    inside = {base64.b64decode(value).decode() for value in json.loads(text)["data"].values()}
    assert inside == set(engine.secrets.values())
    kept = [path.read_bytes() for path in engine.folder.rglob("*") if path.is_file()]
    assert any(b'"urn:pulumi:' in content and b"mlflow-stores" in content for content in kept)
    for secret in engine.secrets.values():
        for form in (secret.encode(), base64.b64encode(secret.encode())):
            assert not [content for content in kept if form in content]


def test_what_is_up_already_is_left_alone(engine: Engine, up: dict[str, str]) -> None:
    assert engine.done("up") == {}


def test_another_quota_changes_that_alone(engine: Engine, up: dict[str, str]) -> None:
    quota = f"{engine.stack}-models/resourcequota/quota"
    assert engine.done("up", quota=dict(engine.settings["quota"]) | {"gpus": "3"}) == {quota: "update"}
    text = engine.kubernetes.kubectl("get", "resourcequota", "quota", "-n", f"{engine.stack}-models", "-o", "json")
    assert json.loads(text)["spec"]["hard"]["requests.nvidia.com/gpu"] == "3"
    assert engine.done("up") == {quota: "update"}


def test_what_somebody_deleted_or_changed_is_found_and_mended(engine: Engine, up: dict[str, str]) -> None:
    at = f"{engine.stack}-kafka"
    engine.kubernetes.kubectl("delete", "networkpolicy", "default-deny", "-n", at)
    loosened = json.dumps({"spec": {"hard": {"pods": "1000"}}})
    engine.kubernetes.kubectl("patch", "resourcequota", "quota", "-n", at, "--type=merge", "--patch", loosened)
    policy, quota = f"{at}/networkpolicy/default-deny", f"{at}/resourcequota/quota"
    assert engine.done("refresh") == {policy: "delete", quota: "update"}
    assert engine.done("up") == {policy: "create", quota: "update"}
    assert ("NetworkPolicy", at, "default-deny") in engine.found()
    text = engine.kubernetes.kubectl("get", "resourcequota", "quota", "-n", at, "-o", "json")
    assert json.loads(text)["spec"]["hard"]["pods"] == engine.settings["quota"]["pods"]


def test_destroy_leaves_nothing(engine: Engine, up: dict[str, str]) -> None:
    steps = engine.done("destroy")
    assert set(steps.values()) == {"delete"}
    assert set(steps) >= set(up)
    assert engine.found() == set()
