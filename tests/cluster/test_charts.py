"""The charts as helm and the real API server see them."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from tests.cluster.access import Kubernetes
from tests.golden.render_charts import cases, render

CASES = {case.name: case for case in cases()}


def helm(kubernetes: Kubernetes, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["helm", *arguments], env=dict(kubernetes.environment), capture_output=True, text=True, check=False)


@pytest.mark.parametrize("case", CASES)
def test_lint(kubernetes: Kubernetes, case: str) -> None:
    done = helm(kubernetes, "lint", "--strict", str(CASES[case].chart), "--values", str(CASES[case].values))
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("case", CASES)
def test_the_golden_rendering_is_what_helm_renders(kubernetes: Kubernetes, case: str) -> None:
    from tests.cluster.one_node import recipes

    assert render(CASES[case], recipes.binary(recipes.HELM, "helm")) == CASES[case].golden.read_text()


def test_of_several_models_one_is_at_the_root_if_it_is_named_and_a_model_that_is_not_there_is_refused(
    kubernetes: Kubernetes,
) -> None:
    case = CASES["tidegate-full"]

    def rendered(model: str) -> subprocess.CompletedProcess[str]:
        given = ["--values", str(case.values), "--set", f"gateway.defaultModel={model}"]
        return helm(kubernetes, "template", "tidegate", str(case.chart), *given)

    said = "none at this path: ask below /models/demand/, /models/lead_time/, /models/returns/, or name the one"
    assert said in rendered("").stdout
    assert "none at this path" not in rendered("returns").stdout
    refused = rendered("retruns")
    assert refused.returncode != 0
    assert "gateway.defaultModel is 'retruns', which gateway.models does not name" in refused.stderr


@pytest.mark.parametrize("case", CASES)
def test_the_api_server_takes_every_object(kubernetes: Kubernetes, new_namespace: Callable[..., str], case: str) -> None:
    """Server-side dry run: schemas of built-in kinds and of the custom resources, defaulting and admission."""
    namespace = new_namespace()
    text = CASES[case].golden.read_text().replace(f"namespace: {CASES[case].namespace}\n", f"namespace: {namespace}\n")
    answer = kubernetes.apply(text, namespace, "--dry-run=server")
    rendered = [document for document in yaml.safe_load_all(text) if document]
    assert answer.count("serverside-applied (server dry run)") == len(rendered)


@pytest.mark.parametrize("case", CASES)
def test_pod_security_takes_every_pod(kubernetes: Kubernetes, new_namespace: Callable[..., str], case: str) -> None:
    """Admission refuses pods, not what makes them: so each template is offered as a pod where `restricted` is enforced."""
    namespace = new_namespace()
    offered = 0
    for document in yaml.safe_load_all(CASES[case].golden.read_text()):
        workload = (document or {}).get("spec", {}).get("jobTargetRef") or (document or {}).get("spec", {})
        if "template" not in workload:
            continue
        template = workload["template"]
        spec: dict[str, Any] = template["spec"]
        spec["volumes"] = spec.get("volumes", []) + [
            {"name": claim["metadata"]["name"], "emptyDir": {}} for claim in workload.get("volumeClaimTemplates", [])
        ]
        name = document["metadata"]["name"]
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": spec["serviceAccountName"]}}
        kubernetes.apply(account, namespace)
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, **template["metadata"]}, "spec": spec}
        kubernetes.apply(pod, namespace, "--dry-run=server")
        offered += 1
    assert offered


def test_an_unknown_field_is_refused(kubernetes: Kubernetes, new_namespace: Callable[..., str]) -> None:
    """Shows that the dry run can fail: a field that the Rollout's schema does not have."""
    text = CASES["model-bento"].golden.read_text().replace("autoPromotionEnabled:", "autoPromotionEnable:")
    message = kubernetes.refused("apply", "--server-side", "--dry-run=server", "-n", new_namespace(), "-f", "-", given=text)
    assert "autoPromotionEnable" in message
