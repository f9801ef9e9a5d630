"""Going back on a cluster: which release it is, and that its pods' template is the one that it had."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tidegate.adapters.kubernetes.argo_rollouts import EPHEMERAL, HASH, RELEASE, ArgoRollouts, earlier
from tidegate.adapters.kubernetes.rollout_orders import ORDERS, REVISION
from tidegate.domain.errors import NotFound

Json = dict[str, Any]


def replica_set(release: str, revision: int, replicas: int = 0) -> Json:
    template = {
        "metadata": {
            "labels": {"app": "x", HASH: f"hash-{release}", "tidegate/role": "active"},
            "annotations": {RELEASE: release},
        },
        "spec": {"containers": []},
    }
    notes = {REVISION: str(revision), EPHEMERAL: '{"labels": {"tidegate/role": "active"}}'}
    return {
        "metadata": {"labels": {HASH: f"hash-{release}"}, "annotations": notes},
        "spec": {"template": template, "replicas": replicas},
        "status": {"readyReplicas": replicas},
    }


def analysis(release: str, phase: str, stage: str = "PostPromotion") -> Json:
    return {"metadata": {"labels": {HASH: f"hash-{release}", "rollout-type": stage}}, "status": {"phase": phase}}


def rollout(live: str, wanted: str | None = None) -> Json:
    state = {"activeSelector": f"hash-{live}", "previewSelector": f"hash-{wanted or live}"}
    status = {
        "blueGreen": state,
        "currentPodHash": f"hash-{wanted or live}",
        "stableRS": f"hash-{live}",
        "observedGeneration": "3",
    }
    analyses = {stage: {"args": [{"name": "release", "value": wanted or live}]} for stage in STAGES}
    metadata = {"generation": 3, "resourceVersion": "40"}
    return {"metadata": metadata, "spec": {"strategy": {"blueGreen": analyses}}, "status": status}


STAGES = ("prePromotionAnalysis", "postPromotionAnalysis")


def test_it_is_the_newest_before_the_live_one_that_passed_its_bake() -> None:
    sets = [replica_set(name, i + 1) for i, name in enumerate(["first", "good", "failed", "stopped", "live"])]
    runs = [analysis("good", "Successful"), analysis("failed", "Failed"), analysis("stopped", "Successful", "PrePromotion")]
    found = earlier(rollout("live"), sets, [*runs, analysis("live", "Successful")])
    assert found is not None
    assert found.release == "good"


def test_the_first_of_all_had_no_bake_to_pass() -> None:
    found = earlier(rollout("live"), [replica_set("first", 1), replica_set("live", 2)], [])
    assert found is not None
    assert found.release == "first"


@pytest.mark.parametrize("sets", [[], [replica_set("live", 1)], [replica_set("failed", 2), replica_set("live", 3)]])
def test_nothing_that_passed_is_nothing_to_go_back_to(sets: list[Json]) -> None:
    assert earlier(rollout("live"), sets, [analysis("failed", "Inconclusive")]) is None


def test_a_bake_that_was_ended_early_passed_nothing() -> None:
    sets = [replica_set(name, i + 1) for i, name in enumerate(["first", "good", "ended", "live"])]
    ended = analysis("ended", "Successful") | {"spec": {"terminate": True}}
    found = earlier(rollout("live"), sets, [analysis("good", "Successful"), ended])
    assert found is not None
    assert found.release == "good"


def ordered(found: Json, revision: int) -> Json:
    """The Rollout with a person's order to go back, given while `revision` was live."""
    order = {"id": "1", "order": "rollback", "actor": "ada", "reason": "wrong", "at": 1.0, "revision": revision}
    found["metadata"]["annotations"] = {ORDERS: json.dumps([order])}
    return found


def test_a_second_rollback_does_not_bring_the_bad_release_back() -> None:
    sets = [replica_set("first", 1), replica_set("bad", 3), replica_set("good", 4)]
    runs = [analysis("bad", "Successful"), analysis("good", "Successful")]
    found = earlier(ordered(rollout("good"), 3), sets, runs)
    assert found is not None
    assert found.release == "first"


def test_a_release_that_was_rolled_out_anew_since_is_good_again() -> None:
    sets = [replica_set("first", 1), replica_set("again", 5), replica_set("live", 6)]
    found = earlier(ordered(rollout("live"), 3), sets, [analysis("again", "Successful")])
    assert found is not None
    assert found.release == "again"


def test_the_template_is_without_what_argo_rollouts_added() -> None:
    found = earlier(rollout("live"), [replica_set("first", 1), replica_set("live", 2)], [])
    assert found is not None
    assert found.template["metadata"] == {"labels": {"app": "x"}, "annotations": {RELEASE: "first"}}


class Api:
    def __init__(self, found: Json, sets: list[Json]) -> None:
        self.rollout, self.sets, self.edited, self.merged = found, sets, [], []

    def get(self, path: str, **_: str) -> Json:
        lists = {"replicasets": self.sets, "analysisruns": []}
        kind = path.rsplit("/", 1)[1]
        return {"items": lists[kind]} if kind in lists else self.rollout

    def edit(self, path: str, operations: list[Json]) -> None:
        self.edited += operations

    def merge(self, path: str, change: Json) -> None:
        self.merged.append((path, change))


def test_going_back_wishes_for_template_release_and_arguments_at_once() -> None:
    api = Api(rollout("live"), [replica_set("first", 1), replica_set("live", 2)])
    rollouts = ArgoRollouts(api, "models")  # type: ignore[arg-type]
    to = rollouts.earlier("demand")
    rollouts.go_back("demand", to, {"order": "rollback", "actor": "ada", "release": to.release})
    by_path = {operation["path"]: operation["value"] for operation in api.edited}
    assert by_path["/metadata/resourceVersion"] == "40"  # of what was read, so that no order of another person is lost
    (order,) = json.loads(by_path["/metadata/annotations/tidegate~1orders"])
    assert (order["order"], order["actor"], order["revision"]) == ("rollback", "ada", 0)
    assert by_path["/spec/template"] == to.template
    assert by_path["/metadata/annotations/tidegate~1release"] == "first"
    for stage in STAGES:
        assert by_path[f"/spec/strategy/blueGreen/{stage}/args"] == [{"name": "release", "value": "first"}]


def test_it_is_let_past_the_gates_only_when_argo_rollouts_works_on_it() -> None:
    api = Api(rollout("live"), [])
    rollouts = ArgoRollouts(api, "models")  # type: ignore[arg-type]
    assert not rollouts.promote("demand", "hash-first")  # it still works on the release before
    api.rollout = rollout("live", wanted="first")
    api.rollout["metadata"]["generation"] = 4
    assert not rollouts.promote("demand", "hash-first")  # and has not seen the change
    api.rollout["status"]["observedGeneration"] = "4"
    assert api.merged == []
    assert rollouts.promote("demand", "hash-first")
    assert [change for _, change in api.merged] == [{"status": {"promoteFull": True}}]


def test_pods_are_told_by_what_they_are_to_clients() -> None:
    sets = [replica_set("live", 2, 2), replica_set("next", 3, 1), replica_set("gone", 1)]
    pods = ArgoRollouts(Api(rollout("live", "next"), sets), "models").pods("demand")  # type: ignore[arg-type]
    assert [(each.release, each.role, each.ready, each.wanted) for each in pods] == [
        ("live", "active", 2, 2),
        ("next", "preview", 1, 1),
    ]


def test_without_an_earlier_release_it_says_so() -> None:
    with pytest.raises(NotFound, match="keeps no earlier release"):
        ArgoRollouts(Api(rollout("live"), []), "models").earlier("demand")  # type: ignore[arg-type]


def test_a_person_may_name_what_was_gone_back_from() -> None:
    sets = [replica_set(name, i + 1) for i, name in enumerate(["first", "good", "live"])]
    runs = [analysis("good", "Successful"), analysis("live", "Successful")]
    gone_back = rollout("live")
    order = {"id": "1", "order": "rollback", "actor": "ada", "reason": "known", "at": 0.0, "revision": 2, "release": "first"}
    gone_back["metadata"]["annotations"] = {ORDERS: json.dumps([order])}
    found = [earlier(gone_back, sets, runs, to) for to in ("", "good", "goo", "live", "none")]
    assert [each and each.release for each in found] == ["first", "good", "good", None, None]
