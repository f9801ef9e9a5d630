"""What is missing or wrong in the cluster of a project's target `kubernetes`, and how to mend it."""

from __future__ import annotations

import shutil
from functools import partial
from typing import Any

from tidegate.adapters.kubernetes.cluster_checks import Check, Installed, examine
from tidegate.adapters.kubernetes.helm_chart import values_of
from tidegate.apps import wiring
from tidegate.apps.rollouts import release_source, rollout_config
from tidegate.domain.errors import NotFound, TidegateError
from tidegate.domain.project import Project
from tidegate.gates.monitor_file import monitor_of


def diagnose(project: Project) -> list[Check]:
    """All checks; one that could not be made is not ok."""
    settings = project.targets.kubernetes
    found = [Check("helm", bool(shutil.which("helm")), shutil.which("helm") or "there is none", "install Helm 3")]
    values: dict[str, Any] = {}
    for model in project.models:
        file = settings.values / f"{model}.yaml"
        if file.is_file():
            values[model] = values_of(settings.chart, file)
        else:
            fix = "'tidegate chart export' writes one to begin with"
            found.append(Check(f"values of {model}", False, f"there is no {file}", fix))
    try:
        api = wiring.kubernetes(settings.context or None)
    except TidegateError as error:
        return [*found, Check("API server", False, str(error), "set KUBECONFIG, or targets.kubernetes.context")]
    limits = {name: model.body_limit for name, model in project.models.items()}
    return [*found, *examine(api, Installed(settings.namespace, values, partial(_gates, project), limits))]


def _gates(project: Project, model: str, digest: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Of the plan of a release that this project has; raises NotFound for another."""
    if not digest:
        raise NotFound(f"the Rollout of {model} names no release; install it with the model's chart")
    manifest, folder = release_source(project)(digest)
    plan = rollout_config(monitor_of(folder, manifest))
    return plan.gates_before, plan.gates_after
