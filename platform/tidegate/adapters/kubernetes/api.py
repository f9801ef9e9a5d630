"""Kubernetes' API by path, as JSON: the vendor's client for configuration and authentication, our errors for what goes wrong.

`connect` takes the service account inside a pod, and the kubeconfig (KUBECONFIG, or ~/.kube/config) outside of one.
"""

from __future__ import annotations

import json
import os
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Any

from tidegate.domain.errors import Conflict, InvalidInput, NotFound, Unavailable

FIELD_MANAGER = "tidegate"
MERGE, APPLY, EDIT = "application/merge-patch+json", "application/apply-patch+yaml", "application/json-patch+json"
TIMEOUT_S = 10.0


class Forbidden(InvalidInput):
    """The account that asks has not the right."""


KINDS: Mapping[int, type[Exception]] = {
    400: InvalidInput,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    422: InvalidInput,
}
Json = dict[str, Any]


class KubernetesApi:
    """Raises NotFound, Conflict, InvalidInput for what the API server refuses, Unavailable where it does not answer."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._kinds: dict[str, dict[str, str]] = {}

    @classmethod
    def connect(cls, context: str | None = None) -> KubernetesApi:
        """Raises Unavailable where there is no usable configuration."""
        from kubernetes import client, config

        configuration = client.Configuration()
        try:
            if "KUBERNETES_SERVICE_HOST" in os.environ and not os.environ.get("KUBECONFIG"):
                config.load_incluster_config(client_configuration=configuration)
            else:
                config.load_kube_config(context=context, client_configuration=configuration)
        except config.ConfigException as error:
            raise Unavailable(
                f"Kubernetes: there is no usable configuration ({error}); set KUBECONFIG or run in a pod"
            ) from error
        configuration.retries = 2
        return cls(client.ApiClient(configuration))

    def get(self, path: str, **query: str) -> Json:
        return self._call("GET", path, query)

    def create(self, path: str, document: Mapping[str, Any]) -> Json:
        return self._call("POST", path, {"fieldManager": FIELD_MANAGER}, document)

    def merge(self, path: str, change: Mapping[str, Any]) -> Json:
        """Merge a change into an object; null removes a field."""
        return self._call("PATCH", path, {"fieldManager": FIELD_MANAGER}, change, MERGE)

    def edit(self, path: str, operations: Sequence[Mapping[str, Any]]) -> Json:
        """All of a JSON Patch's operations on an object, or none."""
        return self._call("PATCH", path, {"fieldManager": FIELD_MANAGER}, list(operations), EDIT)

    def apply(self, namespace: str, document: Mapping[str, Any], dry_run: bool = False) -> Json:
        """Server-side apply as the field manager `tidegate`, taking over fields that another one has. Raises NotFound where the
        namespace is not there: what is applied need not be."""
        query = {"fieldManager": FIELD_MANAGER, "force": "true"} | ({"dryRun": "All"} if dry_run else {})
        group, name = str(document["apiVersion"]), str(document["metadata"]["name"])
        path = namespaced(group, namespace, self._plural(group, str(document["kind"])), name)
        try:
            return self._call("PATCH", path, query, document, APPLY)
        except NotFound as error:
            raise NotFound(
                f"Kubernetes: {document['kind']} {name} cannot be applied, there is no namespace {namespace} ({error}); "
                f"make it: kubectl create namespace {namespace}"
            ) from error

    def _plural(self, group: str, kind: str) -> str:
        """How paths name objects of that kind, as the API server says."""
        if group not in self._kinds:
            resources = self.get(f"/api/{group}" if "/" not in group else f"/apis/{group}")["resources"]
            self._kinds[group] = {each["kind"]: each["name"] for each in resources if "/" not in each["name"]}
        if kind not in self._kinds[group]:
            raise NotFound(f"Kubernetes: the cluster knows no {kind} of {group}; install what brings it")
        return self._kinds[group][kind]

    def _call(self, method: str, path: str, query: Mapping[str, str], body: Any = None, kind: str = "application/json") -> Json:
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        try:
            answer = self._client.call_api(
                path,
                method,
                query_params=list(query.items()),
                header_params={"Accept": "application/json", "Content-Type": kind},
                body=body,
                auth_settings=["BearerToken"],
                _preload_content=False,
                _return_http_data_only=True,
                _request_timeout=TIMEOUT_S,
            )
            return json.loads(answer.data)  # type: ignore[no-any-return]
        except ApiException as error:
            raise _refused(method, path, error) from error
        except (HTTPError, OSError, ValueError) as error:
            raise Unavailable(f"Kubernetes: {method} {path} got no answer ({error}); check that the API server runs") from error


def _refused(method: str, path: str, error: Any) -> Exception:
    try:
        message = json.loads(error.body)["message"]
    except (TypeError, ValueError, KeyError):
        message = error.reason
    said = f"Kubernetes: {method} {path}: {message}"
    return KINDS.get(error.status, Unavailable)(said)


def namespaced(group: str, namespace: str, kind: str, name: str = "") -> str:
    """The path of objects in a namespace: `namespaced('argoproj.io/v1alpha1', 'models', 'rollouts', 'demand')`.

    No object has an underscore in its name: those of a model that has one are named with a dash."""
    root = f"/api/{group}" if "/" not in group else f"/apis/{group}"
    parts = [root, "namespaces", namespace, kind, *([urllib.parse.quote(name.replace("_", "-"), safe="")] if name else [])]
    return "/".join(parts)
