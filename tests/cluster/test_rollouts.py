"""Blue/green by Argo Rollouts, let through by the gate service's verdicts: what is promoted, and all that must not be.

Given a model that serves release A, installed by the chart; when release B is applied; then what the gates say decides.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from tests.cluster.access import Kubernetes
from tests.cluster.deployment import A, B, Deployed, deploy, namespaces


def test_a_release_that_passes_is_promoted(deployed: Deployed) -> None:
    deployed.release(B)
    deployed.until_healthy(B)
    deployed.until(lambda: deployed.analyses() == {"PrePromotion": "Successful", "PostPromotion": "Successful"})


def test_a_verdict_that_is_open_at_first_is_asked_for_again(deployed: Deployed) -> None:
    deployed.verdict("shadow", "INCONCLUSIVE")
    deployed.release(B, deadlineSeconds=60)
    deployed.until(lambda: deployed.analyses().get("PrePromotion") == "Running")
    assert deployed.live() == A
    deployed.verdict("shadow", "PASS")
    deployed.until_healthy(B)


MODES = {
    "FAIL": "Failed",
    "ERROR": "Failed",
    "INCONCLUSIVE": "Inconclusive",
    "NAN": "Inconclusive",
    "INFINITE": "Inconclusive",
    "TWO": "Inconclusive",  # more than one verdict
    "NO_DATA": "Error",
    "NOT_JSON": "Error",
    "ANOTHER_DOCUMENT": "Error",
    "EMPTY": "Error",
    "STATUS_500": "Error",
    "STATUS_404": "Error",  # an unknown model
}


def ending(deployed: Deployed, mode: str) -> tuple[dict[str, str], str, str]:
    """Phases of the analyses, Argo Rollouts' phase and what is live, when the gate `drift` answers in that way."""
    deployed.verdict("drift", mode)
    deployed.release(B)
    deployed.until(lambda: deployed.analyses().get("PrePromotion") not in {None, "", "Pending", "Running"}, 180)
    held = "Paused" if deployed.analyses()["PrePromotion"] == "Inconclusive" else "Degraded"
    deployed.until(lambda: deployed.phase() == held)
    return deployed.analyses(), deployed.phase(), deployed.live()


@pytest.fixture(scope="module")
def endings(kubernetes: Kubernetes) -> Iterator[dict[str, Future[tuple[dict[str, str], str, str]]]]:
    """All of them side by side, a model in a namespace each: what takes time is waiting."""
    with namespaces(kubernetes) as new_namespace, ThreadPoolExecutor(4) as threads:
        yield {mode: threads.submit(lambda mode=mode: ending(deploy(kubernetes, new_namespace), mode)) for mode in MODES}


@pytest.mark.parametrize("mode", MODES)
def test_nothing_but_a_pass_promotes(endings: dict[str, Future[tuple[dict[str, str], str, str]]], mode: str) -> None:
    analyses, phase, live = endings[mode].result()
    assert analyses == {"PrePromotion": MODES[mode]}
    assert phase == ("Paused" if MODES[mode] == "Inconclusive" else "Degraded")
    assert live == A


def test_an_unreachable_gate_service_promotes_nothing(deployed: Deployed) -> None:
    deployed.kill_gates()
    deployed.release(B)
    deployed.until(lambda: deployed.analyses() == {"PrePromotion": "Error"})
    deployed.until(lambda: deployed.phase() == "Degraded")
    assert deployed.live() == A


def test_a_release_that_fails_after_the_switch_is_rolled_back(deployed: Deployed) -> None:
    deployed.verdict("bake", "INCONCLUSIVE")
    deployed.release(B, deadlineSeconds=60)
    deployed.until(lambda: deployed.live() == B)
    deployed.verdict("bake", "FAIL")
    deployed.until(lambda: deployed.live() == A and deployed.phase() == "Degraded")
    assert deployed.analyses() == {"PrePromotion": "Successful", "PostPromotion": "Failed"}


def test_applying_what_is_live_again_changes_nothing(deployed: Deployed) -> None:
    """A server-side apply of the active Service must not take its selector from Argo Rollouts."""
    selector = deployed.kubernetes.get("service", "demand-active", deployed.namespace)["spec"]["selector"]
    deployed.release(A)
    assert deployed.kubernetes.get("service", "demand-active", deployed.namespace)["spec"]["selector"] == selector
    deployed.until_healthy(A)
    assert deployed.analyses() == {}
    deployed.verdict("parity", "FAIL")
    deployed.release(B)
    deployed.until(lambda: deployed.analyses() == {"PrePromotion": "Failed"})
    deployed.until(lambda: deployed.phase() == "Degraded")
    assert deployed.live() == A


def test_a_controller_that_is_killed_goes_on_where_it_was(deployed: Deployed) -> None:
    if deployed.kubernetes.own is None:
        pytest.skip("the controller of a cluster that was given is not ours to kill")
    deployed.verdict("drift", "INCONCLUSIVE")
    deployed.release(B, deadlineSeconds=120)
    deployed.until(lambda: deployed.analyses() == {"PrePromotion": "Running"})
    options = ["-n", "argo-rollouts", "-l", "app.kubernetes.io/name=argo-rollouts"]
    deployed.kubernetes.kubectl("delete", "pod", *options, "--grace-period=0", "--force")
    assert deployed.live() == A
    deployed.verdict("drift", "PASS")
    deployed.until_healthy(B)
    deployed.until(lambda: deployed.analyses() == {"PrePromotion": "Successful", "PostPromotion": "Successful"})


def test_a_gate_service_that_comes_back_in_time_is_asked_again(deployed: Deployed) -> None:
    deployed.verdict("drift", "INCONCLUSIVE")
    deployed.release(B, deadlineSeconds=120, unreachableAttempts=60)
    deployed.until(lambda: deployed.analyses() == {"PrePromotion": "Running"})
    deployed.kill_gates()
    assert deployed.live() == A
    deployed.start_gates()  # without a memory of the open verdict
    deployed.until_healthy(B)
