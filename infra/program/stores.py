"""MLflow over Postgres and an object store that the stack names; their credentials reach it by a Secret alone.

Postgres and the object store themselves are not made here: they outlive a cluster, and hold what must stay in its region.
"""

from __future__ import annotations

from typing import Any

from .namespaces import Document, namespace
from .node_pools import NodePool
from .settings import Settings

PORT = 5000
_SECRET = "mlflow-stores"  # noqa: S105 (the name of a Secret)


def address(settings: Settings) -> str:
    """Where MLflow answers."""
    return f"http://mlflow.{namespace(settings.stack, 'stores')}.svc:{PORT}"


def documents(settings: Settings, pool: NodePool) -> list[Document]:
    """The Secret's values are Pulumi secrets."""
    at = namespace(settings.stack, "stores")
    labels = {"app.kubernetes.io/name": "mlflow"}
    secret = {
        "MLFLOW_BACKEND_STORE_URI": settings.secrets["mlflowDatabaseUrl"],
        "AWS_ACCESS_KEY_ID": settings.secrets["objectStoreAccessKey"],
        "AWS_SECRET_ACCESS_KEY": settings.secrets["objectStoreSecretKey"],
    }
    template = {"metadata": {"labels": labels}, "spec": _pod(settings, pool, at)}
    meta = {"name": "mlflow", "namespace": at, "labels": labels}
    deployment = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
    ports = {"selector": labels, "ports": [{"name": "http", "port": PORT, "targetPort": "http"}]}
    return [
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": _SECRET, "namespace": at}, "stringData": secret},
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": deployment},
        {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": ports},
    ]


def _pod(settings: Settings, pool: NodePool, at: str) -> dict[str, Any]:
    hosts = ",".join(f"mlflow.{at}.svc{domain}:{PORT}" for domain in ("", ".cluster.local"))
    plain = {
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # half a gigabyte for what nothing here uses
        "MLFLOW_ARTIFACTS_DESTINATION": settings.object_store.address,
        "MLFLOW_SERVER_ALLOWED_HOSTS": hosts,
        "AWS_DEFAULT_REGION": settings.object_store.region,
    }
    container = {
        "name": "mlflow",
        "image": settings.images["mlflow"],
        "args": ["server", "--serve-artifacts", "--host", "0.0.0.0", "--port", str(PORT)],
        "env": [{"name": name, "value": value} for name, value in plain.items()],
        "envFrom": [{"secretRef": {"name": _SECRET}}],
        "ports": [{"name": "http", "containerPort": PORT}],
        "readinessProbe": {"tcpSocket": {"port": "http"}},
        "resources": {"requests": {"cpu": "250m", "memory": "1Gi"}, "limits": {"memory": "2Gi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108 (of the container)
    }
    return {
        "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
        "nodeSelector": pool.node_selector(),
        "tolerations": pool.tolerations(),
        "containers": [container],
        "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}}],
    }
