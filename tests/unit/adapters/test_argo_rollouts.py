"""What Argo Rollouts' objects say is under way: read so that nothing is judged, mirrored or overridden by mistake."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tidegate.adapters.argo_rollouts import HASH, ArgoRollouts, under_way
from tidegate.domain.errors import InvalidInput
from tidegate.domain.slots import Slot

A, B = "a" * 64, "b" * 64
BEGAN = 1_700_000_000


def replica_set(pods: str, release: str, slot: str) -> dict[str, Any]:
    annotations = {"tidegate/release": release, "tidegate/slot": slot}
    return {"metadata": {"labels": {HASH: pods}}, "spec": {"template": {"metadata": {"annotations": annotations}}}}


SETS = [replica_set("pods-a", A, "blue"), replica_set("pods-b", B, "green")]


def rollout(active: str, stable: str = "pods-a", generation: int = 7, seen: str = "7", **status: Any) -> dict[str, Any]:
    """Release B is wanted, its pods are `pods-b`."""
    template = {"metadata": {"annotations": {"tidegate/release": B, "tidegate/slot": "green"}}}
    state = {
        "observedGeneration": seen,
        "currentPodHash": "pods-b",
        "stableRS": stable,
        "blueGreen": {"activeSelector": active},
    }
    return {"metadata": {"generation": generation}, "spec": {"template": template}, "status": state | status}


def analysis(release: str = B) -> dict[str, Any]:
    arguments = [{"name": "release", "value": release}]
    return {"metadata": {"creationTimestamp": "2023-11-14T22:13:20Z"}, "spec": {"args": arguments}}


def test_a_preview_that_is_judged() -> None:
    state = under_way("demand", rollout("pods-a"), SETS, analysis())
    assert (state.candidate, state.live, state.previous, state.slot, state.live_slot) == (B, A, A, Slot.GREEN, Slot.BLUE)
    assert state.judged_since == BEGAN
    assert state.mirrors
    assert not state.switched
    assert not state.done


def test_a_bake() -> None:
    state = under_way("demand", rollout("pods-b"), SETS, analysis())
    assert (state.live, state.previous) == (B, A)
    assert state.switched
    assert not state.done
    assert not state.mirrors


def test_a_release_that_passed_everything() -> None:
    state = under_way("demand", rollout("pods-b", stable="pods-b"), SETS, None)
    assert state.done
    assert not state.mirrors
    assert state.judged_since is None


def test_an_abort_ends_judging_and_mirroring() -> None:
    state = under_way("demand", rollout("pods-a", abort=True, message="RolloutAborted: parity"), SETS, analysis())
    assert (state.stopped, state.judged_since, state.mirrors) == ("RolloutAborted: parity", None, False)


@pytest.mark.parametrize("stale", [rollout("pods-a", generation=8), rollout("pods-a", seen="")])
def test_a_status_that_is_older_than_what_is_wanted_judges_nothing(stale: dict[str, Any]) -> None:
    assert under_way("demand", stale, SETS, analysis()).judged_since is None


def test_an_analysis_of_another_release_judges_nothing() -> None:
    assert under_way("demand", rollout("pods-a"), SETS, analysis(A)).judged_since is None


def test_pods_that_are_not_known_are_no_release() -> None:
    state = under_way("demand", rollout("pods-x", stable="pods-y"), SETS, None)
    assert (state.live, state.previous, state.switched, state.done) == (None, None, False, False)


def test_a_rollout_that_is_not_ours_is_refused() -> None:
    with pytest.raises(InvalidInput, match="annotation tidegate/release"):
        under_way("demand", {"metadata": {}, "spec": {"template": {}}}, [], None)


def test_orders_are_read_from_annotations() -> None:
    said = {"actor": "ada", "reason": "known", "at": 1.0}
    ordered = rollout("pods-a")
    ordered["metadata"]["annotations"] = {
        "tidegate/hold": json.dumps(said),
        "tidegate/override-drift": json.dumps({"release": B, **said}),
        "tidegate/override-shadow": json.dumps({"release": A, **said}),  # of an earlier release
        "tidegate/override-parity": json.dumps({"release": B, "actor": "ada", "reason": " "}),
        "tidegate/override-taste": "{",
    }
    state = under_way("demand", ordered, SETS, analysis())
    assert state.hold == said
    assert set(state.overrides) == {"drift"}


@pytest.mark.parametrize("text", ["", "yes", "[]", '{"actor": "ada"}'])
def test_a_hold_that_cannot_be_read_holds(text: str) -> None:
    ordered = rollout("pods-a")
    ordered["metadata"]["annotations"] = {"tidegate/hold": text}
    assert under_way("demand", ordered, SETS, analysis()).hold


class FakeApi:
    """A Service whose selector is what merge patches made of it, and the Rollout."""

    def __init__(self, selector: dict[str, str] | None) -> None:
        self.selector = selector
        self.patches = 0

    def get(self, path: str, **_: str) -> dict[str, Any]:
        return {"spec": {"selector": self.selector}} if path.endswith("/services/demand-shadow") else rollout("pods-a")

    def merge(self, path: str, change: dict[str, Any]) -> None:
        assert path == "/api/v1/namespaces/models/services/demand-shadow"
        self.patches += 1
        merged = {**(self.selector or {}), **change["spec"]["selector"]}
        self.selector = {key: value for key, value in merged.items() if value is not None}


@pytest.mark.parametrize("before", [None, {"tidegate/role": "nobody"}, {HASH: "pods-x", "tidegate/role": "preview"}])
def test_mirroring_selects_the_preview_or_nobody_and_never_has_no_selector(before: dict[str, str] | None) -> None:
    api = FakeApi(before)
    rollouts = ArgoRollouts(api, "models")  # type: ignore[arg-type]
    rollouts.mirror("demand", True)
    assert api.selector == {HASH: "pods-b", "tidegate/role": "preview"}
    rollouts.mirror("demand", False)
    assert api.selector == {"tidegate/role": "nobody"}
    patches = api.patches
    rollouts.mirror("demand", False)
    assert api.patches == patches
