"""Blue/green by Argo Rollouts, let through by the gate service's verdicts: what is promoted, and all that must not be.

Given a model that serves release A, installed by the chart; when release B is applied; then what the gates say decides.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from tests.cluster.access import Kubernetes, await_true
from tests.cluster.test_basics import pod, service

A, B = "a" * 64, "b" * 64
MODEL = "demand"


@dataclass(frozen=True)
class Deployed:
    """A model in a namespace of its own, with a gate service whose verdicts a test sets."""

    kubernetes: Kubernetes
    namespace: str

    def verdict(self, gate: str, mode: str) -> None:
        self.kubernetes.ask(self.namespace, "gates", f"/verdicts/{gate}/{mode}", post=True)

    def release(self, digest: str, **gates: Any) -> None:
        settings = {
            "address": f"http://gates.{self.namespace}.svc",
            "intervalSeconds": 1,
            "attempts": 4,
            "unreachableAttempts": 1,
        }
        values = {
            "model": MODEL,
            "release": digest,
            "image": self.kubernetes.responder,
            "onlineStore": "redis://none:6379/0",
            "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"memory": "64Mi"}},
            "gates": settings | gates,
            "terminationGraceSeconds": 30,
        }
        self.kubernetes.apply(self.kubernetes.helm_template("model", MODEL, self.namespace, values), self.namespace)

    def rollout(self) -> dict[str, Any]:
        return self.kubernetes.get("rollout", MODEL, self.namespace)

    def phase(self) -> str:
        """Argo Rollouts' own word for the state of the object that was last applied; empty while it has not looked at it."""
        found = self.rollout()
        status = found.get("status", {})
        if str(status.get("observedGeneration")) != str(found.get("metadata", {}).get("generation")):
            return ""
        phase: str = status.get("phase", "")
        return phase

    def live(self) -> str:
        """The release that answers clients of the active Service."""
        answer = self.kubernetes.ask(self.namespace, f"{MODEL}-active", "/")
        release: str = json.loads(answer)["release"] if answer else ""
        return release

    def analyses(self) -> dict[str, str]:
        """Phase of each AnalysisRun by the stage that it belongs to."""
        return {
            run["metadata"]["labels"]["rollout-type"]: run.get("status", {}).get("phase", "")
            for run in self.kubernetes.list("analysisruns", self.namespace)
        }

    def describe(self) -> str:
        status = self.rollout().get("status", {})
        return f"{status.get('phase')}: {status.get('message')}; live {self.live()[:4]}; analyses {self.analyses()}"

    def until(self, check: Callable[[], bool], timeout_s: float = 90) -> None:
        await_true(check, timeout_s, self.describe)


@pytest.fixture
def deployed(kubernetes: Kubernetes, new_namespace: Callable[..., str]) -> Deployed:
    """Release A is live, and every gate passes."""
    namespace = new_namespace("rollout")
    kubernetes.apply(pod("gates", kubernetes.responder, ["gates"]), namespace)
    kubernetes.apply(service("gates"), namespace)
    model = Deployed(kubernetes, namespace)
    model.release(A)
    model.until(lambda: model.phase() == "Healthy" and model.live() == A)
    model.until(lambda: kubernetes.ask(namespace, "gates", "/readyz") != "")
    return model


def test_a_release_that_passes_is_promoted(deployed: Deployed) -> None:
    deployed.release(B)
    deployed.until(lambda: deployed.phase() == "Healthy" and deployed.live() == B)
    deployed.until(lambda: deployed.analyses() == {"PrePromotion": "Successful", "PostPromotion": "Successful"})


def test_a_verdict_that_is_open_at_first_is_asked_for_again(deployed: Deployed) -> None:
    deployed.verdict("shadow", "INCONCLUSIVE")
    deployed.release(B, attempts=60)
    deployed.until(lambda: deployed.analyses().get("PrePromotion") == "Running")
    assert deployed.live() == A
    deployed.verdict("shadow", "PASS")
    deployed.until(lambda: deployed.phase() == "Healthy" and deployed.live() == B)


@pytest.mark.parametrize(
    ("mode", "analysis"),
    [
        ("FAIL", "Failed"),
        ("ERROR", "Failed"),
        ("INCONCLUSIVE", "Inconclusive"),
        ("MAYBE", "Inconclusive"),  # a verdict that nobody knows
        ("NO_VERDICT", "Error"),
        ("ANOTHER_RELEASE", "Failed"),  # PASS, but of something else
        ("NOT_JSON", "Error"),
        ("EMPTY", "Error"),
        ("STATUS_500", "Error"),
        ("STATUS_404", "Error"),  # an unknown model
    ],
)
def test_nothing_but_a_pass_promotes(deployed: Deployed, mode: str, analysis: str) -> None:
    deployed.verdict("drift", mode)
    deployed.release(B)
    deployed.until(lambda: deployed.analyses().get("PrePromotion") not in {None, "", "Pending", "Running"})
    assert deployed.analyses() == {"PrePromotion": analysis}
    held = "Paused" if analysis == "Inconclusive" else "Degraded"
    deployed.until(lambda: deployed.phase() == held)
    assert deployed.live() == A


def test_an_unreachable_gate_service_promotes_nothing(deployed: Deployed) -> None:
    deployed.kubernetes.kubectl("delete", "pod", "gates", "-n", deployed.namespace, "--wait=true")
    deployed.release(B)
    deployed.until(lambda: deployed.analyses() == {"PrePromotion": "Error"})
    deployed.until(lambda: deployed.phase() == "Degraded")
    assert deployed.live() == A


def test_a_release_that_fails_after_the_switch_is_rolled_back(deployed: Deployed) -> None:
    deployed.verdict("bake", "INCONCLUSIVE")
    deployed.release(B, attempts=60)
    deployed.until(lambda: deployed.live() == B)
    deployed.verdict("bake", "FAIL")
    deployed.until(lambda: deployed.live() == A and deployed.phase() == "Degraded")
    assert deployed.analyses() == {"PrePromotion": "Successful", "PostPromotion": "Failed"}


def test_clients_lose_nothing_over_switches_in_both_directions(deployed: Deployed) -> None:
    switches, seconds = 4, 100
    url = f"http://{MODEL}-active.{deployed.namespace}.svc.cluster.local/"
    client = pod("load", deployed.kubernetes.responder, ["load", url, str(seconds)], restartPolicy="Never")
    deployed.kubernetes.apply(client, deployed.namespace)
    wanted = A
    for _ in range(switches):
        wanted = B if wanted == A else A
        deployed.release(wanted)
        deployed.until(lambda wanted=wanted: deployed.phase() == "Healthy" and deployed.live() == wanted)  # type: ignore[misc]
    deployed.until(
        lambda: deployed.kubernetes.get("pod", "load", deployed.namespace)["status"]["phase"] == "Succeeded", seconds + 60
    )
    counted = json.loads(deployed.kubernetes.kubectl("logs", "load", "-n", deployed.namespace))
    assert counted["lost"] == 0, counted
    assert set(counted["releases"]) == {A, B}
    assert sum(counted["releases"].values()) == counted["sent"] > 1000
