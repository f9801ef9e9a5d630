"""Clients behind the gateway: what they see of switches, rollbacks, and pods that go away."""

from __future__ import annotations

import itertools

from tests.cluster.deployment import MODEL, A, Deployed


def test_clients_lose_nothing_over_ten_switches_in_both_directions(deployed: Deployed) -> None:
    """Five releases become live, and each is taken back for A again: ten switches under kept-alive connections."""
    counted = deployed.start_load(f"{deployed.gateway()}predict")
    newer = [str(i) * 64 for i in range(1, 6)]
    for release in newer:
        for wanted in (release, A):
            deployed.release(wanted)
            deployed.until_healthy(wanted)
            deployed.until_clients_reach(wanted)
            deployed.until(lambda: deployed.analyses().get("PostPromotion") != "Running")
    load = counted()
    assert load.lost == 0, load.errors
    assert load.sent == sum(load.answered.values()) > 1_000
    assert set(load.answered) == {A, *newer}
    answering = [set(second) for second in load.without_end()]
    assert all(answering), "a second without an answer"
    assert answering[-1] == {A}
    # each switch is one passage from one release to the other: nobody is sent back and forth
    order = [A, *(min(second) for second in answering if len(second) == 1)]
    passages = [after for before, after in itertools.pairwise(order) if after != before]
    assert passages == [release for pair in zip(newer, [A] * 5, strict=True) for release in pair]


def test_a_release_that_is_stopped_never_answers_a_client(deployed: Deployed) -> None:
    counted = deployed.start_load(f"{deployed.gateway()}predict")
    deployed.verdict("parity", "FAIL")
    deployed.release("b" * 64)
    deployed.until(lambda: deployed.phase() == "Degraded")
    load = counted(5)
    assert load.lost == 0, load.errors
    assert set(load.answered) == {A}


def test_a_pod_that_is_evicted_is_drained_and_replaced(deployed: Deployed) -> None:
    counted = deployed.start_load(f"{deployed.gateway()}predict")
    first, second = sorted(deployed.pods(A))
    deployed.kubernetes.kubectl("delete", "pod", first, "-n", deployed.namespace, "--wait=false")
    deployed.until(lambda: first not in deployed.pods(A) and len(deployed.pods(A)) == 2 and deployed.phase() == "Healthy")
    assert second in deployed.pods(A)
    load = counted()
    assert load.lost == 0, load.errors


def test_a_pod_that_is_killed_leaves_the_other_answering(deployed: Deployed) -> None:
    counted = deployed.start_load(f"{deployed.gateway()}predict")
    killed = sorted(deployed.pods(A))[0]
    deployed.kubernetes.kubectl("delete", "pod", killed, "-n", deployed.namespace, "--grace-period=0", "--force")
    deployed.until(lambda: len(set(deployed.pods(A)) - {killed}) == 2 and deployed.phase() == "Healthy")
    load = counted()
    assert set(load.answered) == {A}
    # what was on its way to it: one request of each of the client's eight workers, and one that it sends while the pod dies
    assert load.lost <= 16, load.errors
    assert all(load.without_end()), "a second without an answer"
    assert deployed.kubernetes.get("service", f"{MODEL}-active", deployed.namespace)["spec"]["selector"]
