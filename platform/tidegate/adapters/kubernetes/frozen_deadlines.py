"""What makes a person's freeze last on a cluster: Argo Rollouts' own deadlines wait for it.

Argo Rollouts knows no freeze. It ends an analysis after `count` measurements, however many were inconclusive, and aborts
a rollout that makes no progress for `progressDeadlineSeconds`. It reads both anew at each look, of an analysis that runs, too.
So a freeze raises them on the Rollout, in the analysis that runs and in the templates of those that begin meanwhile, and notes
on the Rollout what they were; with `unfreeze` they begin anew. Both can be repeated, and finish what an interruption left.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from tidegate.adapters.kubernetes.api import KubernetesApi, namespaced
from tidegate.domain.errors import NotFound

GROUP = "argoproj.io/v1alpha1"
NOTE = "tidegate/frozen-deadlines"
HELD_SECONDS = 365 * 24 * 3600
HELD_ATTEMPTS = 10_000_000  # at one a second, a hundred days
Json = dict[str, Any]


def hold_deadlines(api: KubernetesApi, namespace: str, model: str) -> None:
    """Raises NotFound for a Rollout that is not there."""
    path = namespaced(GROUP, namespace, "rollouts", model)
    rollout = api.get(path)
    templates = {each: api.get(each) for each in _templates(rollout, namespace)}
    if _note(rollout) is None:
        attempts = {gate: count for each in templates.values() for gate, count in _attempts(each).items()}
        note = {"seconds": rollout["spec"].get("progressDeadlineSeconds"), "attempts": attempts}
        change = {"metadata": {"annotations": {NOTE: json.dumps(note)}}, "spec": {"progressDeadlineSeconds": HELD_SECONDS}}
        api.merge(path, change)
    for place, template in templates.items():
        _set_attempts(api, place, template, dict.fromkeys(_attempts(template), HELD_ATTEMPTS))
    for place, run in _running(api, rollout, namespace):
        _set_attempts(api, place, run, dict.fromkeys(_attempts(run), HELD_ATTEMPTS))


def let_deadlines_go(api: KubernetesApi, namespace: str, model: str) -> None:
    """What runs has each deadline's whole time again. Raises NotFound for a Rollout that is not there."""
    path = namespaced(GROUP, namespace, "rollouts", model)
    rollout = api.get(path)
    note = _note(rollout)
    if note is None:
        return
    attempts: Mapping[str, int] = note["attempts"]
    for place in _templates(rollout, namespace):
        _set_attempts(api, place, api.get(place), attempts)
    for place, run in _running(api, rollout, namespace):
        measured = {each["name"]: int(each.get("count", 0)) for each in run.get("status", {}).get("metricResults", ())}
        _set_attempts(api, place, run, {gate: measured.get(gate, 0) + count for gate, count in attempts.items()})
    seconds = None if note["seconds"] is None else note["seconds"] + _without_progress(rollout)
    api.merge(path, {"metadata": {"annotations": {NOTE: None}}, "spec": {"progressDeadlineSeconds": seconds}})


def _note(rollout: Json) -> Json | None:
    """One that cannot be read is none: what it said is restored by applying the chart again."""
    try:
        found = json.loads((rollout["metadata"].get("annotations") or {})[NOTE])
        return {"seconds": found["seconds"], "attempts": {gate: int(count) for gate, count in found["attempts"].items()}}
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def _templates(rollout: Json, namespace: str) -> list[str]:
    """Paths of the AnalysisTemplates that the Rollout names."""
    strategy = rollout["spec"]["strategy"]["blueGreen"]
    stages = [strategy.get(stage) or {} for stage in ("prePromotionAnalysis", "postPromotionAnalysis")]
    names = [str(each["templateName"]) for stage in stages for each in stage.get("templates") or ()]
    return [namespaced(GROUP, namespace, "analysistemplates", name) for name in names]


def _running(api: KubernetesApi, rollout: Json, namespace: str) -> Iterator[tuple[str, Json]]:
    state = rollout.get("status", {}).get("blueGreen") or {}
    for stage in ("prePromotionAnalysisRunStatus", "postPromotionAnalysisRunStatus"):
        known = state.get(stage) or {}
        if known.get("status") in ("Pending", "Running"):
            path = namespaced(GROUP, namespace, "analysisruns", str(known.get("name")))
            try:
                yield path, api.get(path)
            except NotFound:
                continue  # it has ended, and was tidied away


def _attempts(analysis: Json) -> dict[str, int]:
    """By gate, of those metrics that end after some."""
    return {str(metric["name"]): int(metric["count"]) for metric in analysis["spec"]["metrics"] if "count" in metric}


def _set_attempts(api: KubernetesApi, path: str, analysis: Json, attempts: Mapping[str, int]) -> None:
    """Of each gate of a template or a run that `attempts` names."""
    operations = [
        {"op": "add", "path": f"/spec/metrics/{number}/{limit}", "value": attempts[gate]}
        for number, metric in enumerate(analysis["spec"]["metrics"])
        if (gate := metric["name"]) in attempts
        for limit in ("count", "inconclusiveLimit")
    ]
    if operations:
        api.edit(path, operations)


def _without_progress(rollout: Json) -> int:
    """Seconds that Argo Rollouts counts already against a release that is under way; 0 where none is."""
    status = rollout.get("status", {})
    if status.get("stableRS") == status.get("currentPodHash"):
        return 0
    progress: Json = next((each for each in status.get("conditions") or () if each.get("type") == "Progressing"), {})
    if "lastUpdateTime" not in progress:
        return 0
    since = datetime.fromisoformat(progress["lastUpdateTime"].replace("Z", "+00:00"))
    return max(0, round((datetime.now(UTC) - since).total_seconds()))
