"""What the Pulumi program registers, taken by a real API server, under a stack name that no other test uses."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest
from tests.cluster.access import Kubernetes

from infra_program import MARK, SECRET, given, objects, run


def plain(value: Any) -> Any:
    """What the Kubernetes provider sends: a secret's value without Pulumi's mark."""
    if isinstance(value, dict):
        return plain(value["value"]) if value.get(MARK) == SECRET else {key: plain(inner) for key, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, list) else value


@pytest.fixture
def applied(kubernetes: Kubernetes) -> Iterator[list[dict[str, Any]]]:
    """All objects of the stack `dev`, renamed, and applied; MLflow itself only as the server's dry run."""
    unique = f"t{os.urandom(3).hex()}-"
    documents = json.loads(json.dumps(plain(objects(run("dev", given())))).replace('"dev-', f'"{unique}'))
    names = [d["metadata"]["name"] for d in documents if d["kind"] == "Namespace"]
    try:
        for document in sorted(documents, key=lambda d: d["kind"] != "Namespace"):
            options = ["--dry-run=server"] if document["kind"] == "Deployment" else []
            kubernetes.apply(document, document["metadata"].get("namespace", "default"), *options)
        yield documents
    finally:
        kubernetes.kubectl("delete", "namespace", "--wait=false", *names, check=False)


def test_the_api_server_takes_and_keeps_every_object(kubernetes: Kubernetes, applied: list[dict[str, Any]]) -> None:
    for document in applied:
        if document["kind"] not in {"Deployment", "Secret"}:
            about = document["metadata"]
            kubernetes.kubectl("get", document["kind"], about["name"], "-n", about.get("namespace", "default"))


def test_its_namespaces_refuse_what_they_must(kubernetes: Kubernetes, applied: list[dict[str, Any]]) -> None:
    container = {"name": "c", "image": "example.org/x", "securityContext": {"privileged": True}}
    for namespace in (d["metadata"]["name"] for d in applied if d["kind"] == "Namespace"):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [container]}}
        said = kubernetes.refused("create", "-n", namespace, "--dry-run=server", "-f", "-", given=json.dumps(pod))
        assert "violates PodSecurity" in said
    deployment = next(d for d in applied if d["kind"] == "Deployment")
    spec = deployment["spec"]["template"]["spec"]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec}
    namespace = deployment["metadata"]["namespace"]
    kubernetes.kubectl("create", "-n", namespace, "--dry-run=server", "-f", "-", given=json.dumps(pod))  # restricted
    spec["containers"][0]["resources"]["limits"]["memory"] = "1Ti"
    said = kubernetes.refused("create", "-n", namespace, "--dry-run=server", "-f", "-", given=json.dumps(pod))
    assert "exceeded quota" in said
