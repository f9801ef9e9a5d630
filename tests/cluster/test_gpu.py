"""A model that wants a GPU goes where one is, and waits where none is free, while the release before it answers.

To the scheduler and the kubelet a GPU is something countable that a node has, behind a taint. Nodes here say that they have
some, as a device plugin would have them say; there is no device, so what runs is a program that asks for none.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator

import pytest
from tests.cluster.access import Kubernetes, await_true
from tests.cluster.deployment import A, B, Deployed

LABEL, GPU = "tidegate.test/accelerator", "nvidia.com/gpu"
TAINT = {"key": GPU, "value": "present", "effect": "NoSchedule"}


@pytest.fixture
def nodes(kubernetes: Kubernetes) -> Kubernetes:
    if kubernetes.own is None:
        pytest.skip("the nodes of a cluster that was given are not ours to change")
    return kubernetes


@pytest.fixture
def advertise(nodes: Kubernetes) -> Iterator[Callable[[str, int], None]]:
    """Have the cluster's node say that it has that many GPUs, and what they are called; taken back afterwards."""
    name = nodes.kubectl("get", "nodes", "-l", f"!{LABEL}", "-o", "name").split()[0]

    def say(accelerator: str, count: int) -> None:
        paths = [f"/status/{kind}/{GPU.replace('/', '~1')}" for kind in ("capacity", "allocatable")]
        change = json.dumps([{"op": "add", "path": path, "value": str(count)} for path in paths])
        nodes.kubectl("patch", name, "--subresource=status", "--type=json", "-p", change)
        nodes.kubectl("label", name, "--overwrite", f"{LABEL}={accelerator}")

    yield say
    say("none", 0)
    nodes.kubectl("label", name, f"{LABEL}-")


@pytest.fixture
def gpu_node(nodes: Kubernetes) -> Iterator[str]:
    """A node of which there is nothing but its object: the scheduler gives it pods, and nobody runs them."""
    name = f"gpu-{os.urandom(3).hex()}"
    labels = {"kubernetes.io/hostname": name, LABEL: name}
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}, "spec": {"taints": [TAINT]}}
    has = {"cpu": "8", "memory": "32Gi", "pods": "10", GPU: "2"}
    status = {
        "capacity": has,
        "allocatable": has,
        "addresses": [{"type": "InternalIP", "address": "192.0.2.1"}],
        "conditions": [{"type": "Ready", "status": "True", "reason": "Test", "message": ""}],
    }
    nodes.kubectl("create", "-f", "-", given=json.dumps(node))
    nodes.kubectl("patch", "node", name, "--subresource=status", "--type=merge", "-p", json.dumps({"status": status}))
    yield name
    nodes.kubectl("delete", "node", name)


def wish(model: Deployed, digest: str, accelerator: str, **gpu: object) -> None:
    """Apply a release that needs one GPU of that kind."""
    wanted = {"count": 1, "nodeSelector": {LABEL: accelerator}} | gpu
    model.kubernetes.apply(model.rendered(digest, {}, replicas=1, gpu=wanted), model.namespace)


def placed(model: Deployed, digest: str) -> tuple[str, str]:
    """The node of the newest pod of that release, or why it has none yet."""
    pods = [p for p in model.kubernetes.list("pod", model.namespace) if p["metadata"]["name"] in model.pods(digest)]
    if not pods:
        return "", ""
    newest = max(pods, key=lambda each: each["metadata"]["creationTimestamp"])
    conditions = {each["type"]: each.get("message", "") for each in newest["status"].get("conditions", ())}
    return newest["spec"].get("nodeName", ""), conditions.get("PodScheduled", "")


def test_it_waits_for_a_free_gpu_while_the_release_before_answers(
    deployed: Deployed, advertise: Callable[[str, int], None]
) -> None:
    wish(deployed, B, "t4")
    deployed.until(lambda: "node affinity/selector" in placed(deployed, B)[1])
    assert deployed.live() == A
    advertise("t4", 1)
    deployed.until_healthy(B)
    wish(deployed, A, "t4")  # blue/green needs a second GPU as long as both releases are there
    deployed.until(lambda: f"Insufficient {GPU}" in placed(deployed, A)[1])
    assert deployed.live() == B
    advertise("t4", 2)
    deployed.until_healthy(A)


def test_it_goes_to_a_tainted_node_of_its_kind_and_nothing_else_does(deployed: Deployed, gpu_node: str) -> None:
    wish(deployed, B, gpu_node, tolerations=[])
    deployed.until(lambda: "untolerated taint" in placed(deployed, B)[1])
    wish(deployed, B, gpu_node)
    await_true(lambda: placed(deployed, B)[0] == gpu_node, 60, lambda: f"{placed(deployed, B)}")
    assert deployed.live() == A
