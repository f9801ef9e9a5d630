"""Calls of Kubernetes' API, and what their refusals say to do."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from kubernetes.client.exceptions import ApiException

from tidegate.adapters.kubernetes.api import KubernetesApi
from tidegate.domain.errors import NotFound


class Client:
    """An API server that knows Services, and no namespace."""

    def call_api(self, path: str, method: str, **_: Any) -> SimpleNamespace:
        if method == "GET":
            return SimpleNamespace(data=json.dumps({"resources": [{"kind": "Service", "name": "services"}]}))
        error = ApiException(status=404, reason="Not Found")
        error.body = json.dumps({"message": 'namespaces "models" not found'})
        raise error


def test_what_is_applied_in_a_namespace_that_is_not_there_says_how_to_make_it() -> None:
    document = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "rentals-active"}}
    with pytest.raises(NotFound, match=r"no namespace models \(.*\); make it: kubectl create namespace models$"):
        KubernetesApi(Client()).apply("models", document)
