"""A freeze lasts as long as people want: Argo Rollouts' own deadlines wait for it, and begin anew when it is lifted."""

from __future__ import annotations

import copy
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tidegate.adapters.kubernetes.frozen_deadlines import (
    HELD_ATTEMPTS,
    HELD_SECONDS,
    NOTE,
    hold_deadlines,
    let_deadlines_go,
)
from tidegate.domain.errors import NotFound, Unavailable

ROLLOUT = "/apis/argoproj.io/v1alpha1/namespaces/models/rollouts/demand"
BEFORE, AFTER, RUN = (
    f"/apis/argoproj.io/v1alpha1/namespaces/models/{name}"
    for name in ("analysistemplates/demand-pre-promotion", "analysistemplates/demand-post-promotion", "analysisruns/demand-1")
)


def analysis(*gates: str) -> dict[str, Any]:
    return {"spec": {"metrics": [{"name": gate, "count": 34, "inconclusiveLimit": 34, "failureLimit": 0} for gate in gates]}}


class FakeApi:
    """A frozen cluster's objects; `patches` is how many changes it took, and `left` how many it takes before it is away."""

    def __init__(self) -> None:
        updated = (datetime.now(UTC) - timedelta(seconds=5000)).strftime("%Y-%m-%dT%H:%M:%SZ")
        running = {"prePromotionAnalysisRunStatus": {"name": "demand-1", "status": "Running"}}
        self.objects: dict[str, dict[str, Any]] = {
            ROLLOUT: {
                "metadata": {"annotations": {"others": "stay"}},
                "spec": {
                    "progressDeadlineSeconds": 600,
                    "strategy": {
                        "blueGreen": {
                            "prePromotionAnalysis": {"templates": [{"templateName": "demand-pre-promotion"}]},
                            "postPromotionAnalysis": {"templates": [{"templateName": "demand-post-promotion"}]},
                        }
                    },
                },
                "status": {
                    "stableRS": "a",
                    "currentPodHash": "b",
                    "blueGreen": running,
                    "conditions": [{"type": "Available"}, {"type": "Progressing", "lastUpdateTime": updated}],
                },
            },
            BEFORE: analysis("parity", "shadow"),
            AFTER: analysis("bake"),
            RUN: analysis("parity", "shadow") | {"status": {"metricResults": [{"name": "shadow", "count": 2000}]}},
        }
        self.patches, self.left = 0, 100

    def get(self, path: str, **_: str) -> dict[str, Any]:
        if path not in self.objects:
            raise NotFound(path)
        return copy.deepcopy(self.objects[path])

    def _take(self) -> None:
        if not self.left:
            raise Unavailable("the cluster is away")
        self.left, self.patches = self.left - 1, self.patches + 1

    def merge(self, path: str, change: dict[str, Any]) -> None:
        self._take()
        annotations = self.objects[path]["metadata"]["annotations"] | change["metadata"]["annotations"]
        self.objects[path]["metadata"]["annotations"] = {key: value for key, value in annotations.items() if value is not None}
        self.objects[path]["spec"] |= change["spec"]

    def edit(self, path: str, operations: list[dict[str, Any]]) -> None:
        self._take()
        for each in operations:
            _, spec, metrics, number, name = each["path"].split("/")
            assert each["op"] == "add"
            self.objects[path][spec][metrics][int(number)][name] = each["value"]

    def seconds(self) -> int:
        return int(self.objects[ROLLOUT]["spec"]["progressDeadlineSeconds"])

    def attempts(self, path: str) -> dict[str, tuple[int, int]]:
        metrics = self.objects[path]["spec"]["metrics"]
        return {each["name"]: (each["count"], each["inconclusiveLimit"]) for each in metrics}


@pytest.fixture
def api() -> FakeApi:
    return FakeApi()


def held(api: FakeApi) -> None:
    hold_deadlines(api, "models", "demand")  # type: ignore[arg-type]


def let_go(api: FakeApi) -> None:
    let_deadlines_go(api, "models", "demand")  # type: ignore[arg-type]


def test_a_freeze_raises_the_deadlines_of_what_runs_and_of_what_begins_meanwhile(api: FakeApi) -> None:
    for _ in range(2):
        held(api)
        assert api.seconds() == HELD_SECONDS
        endless = (HELD_ATTEMPTS, HELD_ATTEMPTS)
        assert [api.attempts(each) for each in (BEFORE, AFTER, RUN)] == [
            {"parity": endless, "shadow": endless},
            {"bake": endless},
            {"parity": endless, "shadow": endless},
        ]
    assert api.objects[RUN]["spec"]["metrics"][0]["failureLimit"] == 0, "what fails fails at once"


def test_when_it_is_lifted_everything_has_its_whole_time_again(api: FakeApi) -> None:
    held(api)
    let_go(api)
    assert 5600 <= api.seconds() <= 5660, "what Argo Rollouts counts already, and as much again as there was"
    assert api.attempts(BEFORE) == {"parity": (34, 34), "shadow": (34, 34)}
    assert api.attempts(AFTER) == {"bake": (34, 34)}
    assert api.attempts(RUN) == {"parity": (34, 34), "shadow": (2034, 2034)}
    assert api.objects[ROLLOUT]["metadata"]["annotations"] == {"others": "stay"}
    patches = api.patches
    let_go(api)
    assert api.patches == patches


@pytest.mark.parametrize("taken", range(8))
def test_what_an_interruption_left_is_finished_by_doing_it_again(api: FakeApi, taken: int) -> None:
    api.left = taken
    for step in (held, let_go):
        try:
            step(api)
        except Unavailable:
            api.left = 100
            step(api)
    assert 5600 <= api.seconds() <= 5660
    assert api.attempts(BEFORE) == {"parity": (34, 34), "shadow": (34, 34)}
    assert api.attempts(RUN) == {"parity": (34, 34), "shadow": (2034, 2034)}


def test_where_nothing_is_under_way_the_deadline_is_what_it_was(api: FakeApi) -> None:
    api.objects[ROLLOUT]["status"] = {"stableRS": "b", "currentPodHash": "b"}
    held(api)
    let_go(api)
    assert api.seconds() == 600


@pytest.mark.parametrize("note", ["", "{", "[]", '{"seconds": 600}', '{"seconds": 600, "attempts": 3}'])
def test_a_note_that_cannot_be_read_changes_nothing(api: FakeApi, note: str) -> None:
    api.objects[ROLLOUT]["metadata"]["annotations"][NOTE] = note
    let_go(api)
    assert (api.patches, api.seconds()) == (0, 600)


def test_a_metric_without_an_end_of_its_own_is_left_alone(api: FakeApi) -> None:
    api.objects[BEFORE]["spec"]["metrics"].append({"name": "endless"})
    held(api)
    let_go(api)
    assert api.objects[BEFORE]["spec"]["metrics"][-1] == {"name": "endless"}


def test_an_analysis_that_has_gone_is_none(api: FakeApi) -> None:
    del api.objects[RUN]
    held(api)
    let_go(api)
    assert api.attempts(AFTER) == {"bake": (34, 34)}
