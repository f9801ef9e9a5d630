"""NetworkPolicies of the charts as a network that enforces them reads them: what has to get through does, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from tests.cluster.access import Kubernetes, await_true
from tests.cluster.deployment import MODEL, A, Deployed
from tests.cluster.objects import pod

OF_MODEL = {"app.kubernetes.io/name": "model", "app.kubernetes.io/instance": MODEL}
OF_GATEWAY = {"app.kubernetes.io/name": "tidegate", "app.kubernetes.io/instance": "tidegate"}
OF_GATEWAY |= {"app.kubernetes.io/component": "gateway"}


@dataclass(frozen=True)
class Attempt:
    """A pod with these labels, in the model's namespace or the gateway's, asks for something."""

    of: str
    url: str
    allowed: bool
    labels: dict[str, str] = field(default_factory=dict)


def attempts(deployed: Deployed, gateway: str) -> dict[str, Attempt]:
    model, gates = f"http://{MODEL}-active.{deployed.namespace}:8080/", f"http://gates.{deployed.namespace}/readyz"
    return {
        "a-client-asks-the-gateway": Attempt(deployed.namespace, gateway.removesuffix("predict") + "readyz", True),
        "a-client-asks-the-model-itself": Attempt(deployed.namespace, model, False),
        "the-gateway-asks-the-model": Attempt(deployed.home, model, True, OF_GATEWAY),
        "a-gateway-of-another-namespace-asks-the-model": Attempt(deployed.namespace, model, False, OF_GATEWAY),
        "the-gateway-asks-for-something-else": Attempt(deployed.home, gates, False, OF_GATEWAY),
        "a-stranger-beside-the-gateway-asks": Attempt(deployed.home, gates, False),
        "the-model-asks-for-something": Attempt(deployed.namespace, gates, False, OF_MODEL),
        "somebody-else-asks-for-the-same": Attempt(deployed.namespace, gates, True),
    }


def test_only_what_the_charts_name_gets_through(kubernetes: Kubernetes, deployed: Deployed) -> None:
    """All at once. A new pod waits until the network knows it, and by then what is refused is refused for long enough."""
    if kubernetes.own is None:
        pytest.skip("whether a cluster that was given enforces NetworkPolicies is not known")
    wanted = attempts(deployed, deployed.gateway())
    for name, attempt in wanted.items():
        document = pod(name, kubernetes.responder, ["get", attempt.url, "5", "4"], restartPolicy="Never")
        document["metadata"]["labels"] |= attempt.labels
        document["spec"]["terminationGracePeriodSeconds"] = 1
        kubernetes.apply(document, attempt.of)

    def phases() -> dict[str, str]:
        return {
            name: kubernetes.get("pod", name, attempt.of).get("status", {}).get("phase", "") for name, attempt in wanted.items()
        }

    await_true(lambda: set(phases().values()) <= {"Succeeded", "Failed"}, 90, lambda: str(phases()))
    assert {name: phase == "Succeeded" for name, phase in phases().items()} == {n: a.allowed for n, a in wanted.items()}
    answer = kubernetes.kubectl("logs", "the-gateway-asks-the-model", "-n", deployed.home)
    assert A in answer
