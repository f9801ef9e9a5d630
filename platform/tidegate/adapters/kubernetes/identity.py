"""Who this process is by the API server's word: its review of the credentials that it was asked with."""

from __future__ import annotations

import logging

from tidegate.adapters.kubernetes.api import KubernetesApi
from tidegate.domain.actor import Actor
from tidegate.domain.errors import TidegateError

GROUP = "authentication.k8s.io/v1"
logger = logging.getLogger("tidegate.identity")


def reviewed(api: KubernetesApi, otherwise: Actor) -> Actor:
    """`otherwise` where the API server does not say (before Kubernetes 1.28, or not allowed), which proves nothing."""
    try:
        review = api.create(f"/apis/{GROUP}/selfsubjectreviews", {"apiVersion": GROUP, "kind": "SelfSubjectReview"})
        user = review["status"]["userInfo"]
        return Actor(str(user["username"]), "the API server's review", True, tuple(map(str, user.get("groups", ()))))
    except (TidegateError, KeyError, TypeError, AttributeError) as error:
        logger.warning("who this process is could not be asked of the API server (%s); it counts as %s", error, otherwise)
        return otherwise
