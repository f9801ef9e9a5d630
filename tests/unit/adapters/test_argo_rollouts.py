"""What Argo Rollouts' objects say is under way: read so that nothing is judged, mirrored or overridden by mistake."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tidegate.adapters.kubernetes.argo_rollouts import HASH, ArgoRollouts, under_way
from tidegate.adapters.kubernetes.rollout_orders import REVISION
from tidegate.domain.errors import Conflict, InvalidInput
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


def annotated(revision: int, **annotations: Any) -> dict[str, Any]:
    ordered = rollout("pods-a")
    texts = {f"tidegate/{name.replace('_', '-')}": json.dumps(value) for name, value in annotations.items()}
    ordered["metadata"] |= {"annotations": {REVISION: str(revision), **texts}, "resourceVersion": "40"}
    return ordered


def order(kind: str, revision: int, release: str = B, **about: Any) -> dict[str, Any]:
    said = {"id": f"{kind}{revision}", "order": kind, "actor": "ada", "reason": "known", "at": 1.0}
    return {**said, "release": release, "revision": revision, **about}


def test_orders_are_read_from_annotations() -> None:
    said = {"actor": "ada", "reason": "known", "at": 1.0}
    ordered = annotated(
        4,
        hold=said,
        override_drift=order("override", 4),
        override_slo=order("override", 3),  # Argo Rollouts had not taken notice of this release yet
        override_bake=order("override", 2),  # of an earlier rollout of the same release
        override_shadow=order("override", 4, A),
        override_parity={**order("override", 4), "reason": " "},
        override_agreement={"release": B, **said},
        orders=[order("rollout", 3), {"id": "x"}, 7],
    )
    ordered["metadata"]["annotations"]["tidegate/override-taste"] = "{"
    state = under_way("demand", ordered, SETS, analysis())
    assert state.hold == said
    assert set(state.overrides) == {"drift", "slo"}
    assert [each["id"] for each in state.orders] == ["rollout3"]


@pytest.mark.parametrize(("given", "wanted"), [(3, True), (4, True), (2, False), (5, False)])
def test_going_back_counts_for_the_rollout_that_it_began(given: int, wanted: bool) -> None:
    """A release that somebody went back to once is judged when it is rolled out again."""
    assert under_way("demand", annotated(4, orders=[order("rollback", given)]), SETS, None).past_gates is wanted
    assert not under_way("demand", annotated(4, orders=[order("rollback", given, A)]), SETS, None).past_gates


@pytest.mark.parametrize(
    "forged",
    [{"order": "verdict"}, {"id": ["1"]}, {"id": None}, {"release": 7}, {"at": "now"}, {"subject": "x", "judged_since": 1.0}],
)
def test_an_order_is_what_orders_are_and_nothing_else(forged: dict[str, Any]) -> None:
    """Who can write annotations orders in a name, and does not write the ledger."""
    state = under_way("demand", annotated(4, orders=[order("rollback", 4) | forged]), SETS, None)
    fields = {"id", "order", "actor", "reason", "at", "release", "revision"}
    assert all(set(each) <= fields and each["order"] == "rollback" for each in state.orders)
    assert state.past_gates is ("subject" in forged)


@pytest.mark.parametrize("text", ["{", "7", "null", '"x"'])
def test_orders_that_cannot_be_read_are_none(text: str) -> None:
    ordered = annotated(4)
    ordered["metadata"]["annotations"]["tidegate/orders"] = text
    state = under_way("demand", ordered, SETS, None)
    assert (list(state.orders), state.past_gates) == ([], False)


class Orders:
    """A Rollout that somebody else changes `others` times before a change of ours."""

    def __init__(self, found: dict[str, Any], others: int = 0) -> None:
        self.rollout, self.others = found, others

    def get(self, path: str, **_: str) -> dict[str, Any]:
        return json.loads(json.dumps(self.rollout))  # type: ignore[no-any-return]

    def merge(self, path: str, change: dict[str, Any]) -> None:
        metadata = self.rollout["metadata"]
        if self.others:
            self.others -= 1
            metadata["resourceVersion"] += "1"
            orders = json.loads(metadata["annotations"].get("tidegate/orders", "[]"))
            metadata["annotations"]["tidegate/orders"] = json.dumps([*orders, order("abort", self.others)])
        if change["metadata"]["resourceVersion"] != metadata["resourceVersion"]:
            raise Conflict("it has been modified")
        metadata["annotations"] |= change["metadata"]["annotations"]

    def left(self) -> list[str]:
        return [each["id"] for each in json.loads(self.rollout["metadata"]["annotations"]["tidegate/orders"])]


def leave(api: Orders, *orders: dict[str, Any]) -> None:
    for each in orders:
        ArgoRollouts(api, "models").order("demand", each)  # type: ignore[arg-type]


def test_an_order_is_left_after_the_others_and_none_is_lost_to_another_person() -> None:
    api = Orders(annotated(4), others=2)
    leave(api, order("freeze", 4), order("unfreeze", 4))
    assert api.left() == ["abort1", "abort0", "freeze4", "unfreeze4"]


def test_a_freeze_is_in_force_until_it_is_lifted_and_an_override_for_its_gate() -> None:
    api = Orders(annotated(4))
    leave(api, order("freeze", 0), order("override", 0, gate="drift"))
    state = under_way("demand", api.get(""), SETS, analysis())
    assert state.hold is not None
    assert (state.hold["actor"], set(state.overrides)) == ("ada", {"drift"})  # with the revision at which they were left
    leave(api, order("unfreeze", 0))
    assert under_way("demand", api.get(""), SETS, analysis()).hold is None


def test_the_oldest_orders_make_room() -> None:
    api = Orders(annotated(4))
    leave(api, *(order("freeze", i) for i in range(60)))
    assert api.left() == [f"freeze{i}" for i in range(10, 60)]
    leave(api, *(order("freeze", i, reason="x" * 30_000) for i in range(3)))
    assert api.left() == ["freeze1", "freeze2"]


def test_a_rollout_that_never_keeps_still_is_an_error() -> None:
    with pytest.raises(Conflict, match="modified"):
        leave(Orders(annotated(4), others=10_000), order("freeze", 4))


@pytest.mark.parametrize("text", ["", "yes", "[]", '{"actor": "ada"}'])
def test_a_hold_that_cannot_be_read_holds(text: str) -> None:
    ordered = rollout("pods-a")
    ordered["metadata"]["annotations"] = {"tidegate/hold": text}
    assert under_way("demand", ordered, SETS, analysis()).hold


class FakeApi:
    """A Service whose selector is what merge patches made of it, and the Rollout."""

    def __init__(self, selector: dict[str, str] | None) -> None:
        self.selector, self.annotations = selector, {"others": "stay"}
        self.patches = 0

    def get(self, path: str, **_: str) -> dict[str, Any]:
        service = {"spec": {"selector": self.selector}, "metadata": {"annotations": self.annotations}}
        return service if path.endswith("/services/demand-shadow") else rollout("pods-a")

    def merge(self, path: str, change: dict[str, Any]) -> None:
        assert path == "/api/v1/namespaces/models/services/demand-shadow"
        self.patches += 1
        if "metadata" in change:
            annotated = {**self.annotations, **change["metadata"]["annotations"]}
            self.annotations = {key: value for key, value in annotated.items() if value is not None}
            return
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


def test_what_the_registry_does_not_have_is_an_annotation_that_comes_and_goes() -> None:
    api = FakeApi(None)
    rollouts = ArgoRollouts(api, "models")  # type: ignore[arg-type]
    due = {"release": "demand@b", "version": "2", "at": 1.0, "reason": "it is away"}
    for _ in range(2):
        rollouts.show_registry("demand", due)
    assert (rollouts.registry_due("demand"), api.patches) == (due, 1)
    for _ in range(2):
        rollouts.show_registry("demand", None)
    assert (rollouts.registry_due("demand"), api.patches, api.annotations) == (None, 2, {"others": "stay"})


@pytest.mark.parametrize("text", ["{", "3", "[]"])
def test_a_word_on_the_registry_that_cannot_be_read_is_said_to_be_damaged(text: str) -> None:
    api = FakeApi(None)
    api.annotations["tidegate/registry"] = text
    due = ArgoRollouts(api, "models").registry_due("demand")  # type: ignore[arg-type]
    assert due is not None
    assert "is damaged" in due["reason"]
