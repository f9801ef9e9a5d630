"""What is missing or wrong in the cluster of a project's target `kubernetes`, and how to mend it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from tidegate.adapters.cluster_checks import Check, Installed, examine
from tidegate.adapters.kubernetes_api import KubernetesApi
from tidegate.bootstrap.rollouts import release_source, rollout_config
from tidegate.domain.errors import NotFound, TidegateError
from tidegate.domain.project import Project
from tidegate.monitoring.config import monitor_of


def diagnose(project: Project) -> list[Check]:
    """All checks; one that could not be made is not ok."""
    settings = project.targets.kubernetes
    found = [Check("helm", bool(shutil.which("helm")), shutil.which("helm") or "there is none", "install Helm 3")]
    values: dict[str, Any] = {}
    for model in project.models:
        file = settings.values / f"{model}.yaml"
        if file.is_file():
            values[model] = _merged(_read(settings.chart / "values.yaml"), _read(file))
        else:
            fix = "write one; charts/model/values.yaml says what it may have"
            found.append(Check(f"values of {model}", False, f"there is no {file}", fix))
    try:
        api = KubernetesApi.connect(settings.context or None)
    except TidegateError as error:
        return [*found, Check("API server", False, str(error), "set KUBECONFIG, or targets.kubernetes.context")]
    return [*found, *examine(api, Installed(settings.namespace, values, partial(_gates, project)))]


def _gates(project: Project, model: str, digest: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Of the plan of a release that this project has; raises NotFound for another."""
    if not digest:
        raise NotFound(f"the Rollout of {model} names no release; install it with the model's chart")
    manifest, folder = release_source(project)(digest)
    plan = rollout_config(monitor_of(folder, manifest))
    return plan.gates_before, plan.gates_after


def _read(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text()) or {}


def _merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """As Helm merges values: maps by key, anything else is replaced."""
    both = {key: value for key, value in under.items() if key not in over}
    for key, value in over.items():
        beneath = under.get(key)
        both[key] = _merged(beneath, value) if isinstance(beneath, Mapping) and isinstance(value, Mapping) else value
    return both
