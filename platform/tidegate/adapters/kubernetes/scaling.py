"""What decides how many pods of a model there are."""

from __future__ import annotations

from tidegate.adapters.kubernetes.api import KubernetesApi, namespaced
from tidegate.domain.errors import NotFound


def scaled_by(api: KubernetesApi, namespace: str, model: str) -> str:
    try:
        found = api.get(namespaced("keda.sh/v1alpha1", namespace, "scaledobjects", model))
    except NotFound:
        return "nobody: the chart's number of replicas"
    spec = found["spec"]
    bounds = f"{spec.get('minReplicaCount')} to {spec.get('maxReplicaCount')}"
    conditions = {each["type"]: each for each in found.get("status", {}).get("conditions", ())}
    wrong = [
        str(conditions[kind].get("message") or kind)
        for kind, bad in (("Ready", "False"), ("Fallback", "True"))
        if conditions.get(kind, {}).get("status") == bad
    ]
    return f"KEDA, {bounds}" + (f"; {'; '.join(wrong)}" if wrong else "")
