"""Who somebody is by the API server's word: its review of the credentials that this process asks with (SelfSubjectReview), or
of a token that a caller presents (TokenReview). Groups that come with an identity are the actor's roles."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from tidegate.adapters.kubernetes.api import KubernetesApi
from tidegate.domain.actor import Actor
from tidegate.domain.errors import AccessDenied, TidegateError, Unavailable

GROUP = "authentication.k8s.io/v1"
PROOF = "the API server's review"
KEPT, KEPT_SECONDS = 256, 60.0  # a token that was revoked counts for so long
logger = logging.getLogger("tidegate.identity")


def reviewed(api: KubernetesApi, otherwise: Actor) -> Actor:
    """`otherwise` where the API server does not say (before Kubernetes 1.28, or not allowed), which proves nothing."""
    try:
        review = api.create(f"/apis/{GROUP}/selfsubjectreviews", {"apiVersion": GROUP, "kind": "SelfSubjectReview"})
        return _actor(review["status"]["userInfo"])
    except (TidegateError, KeyError, TypeError, AttributeError) as error:
        logger.warning("who this process is could not be asked of the API server (%s); it counts as %s", error, otherwise)
        return otherwise


class TokenReviews:
    """Who presents a token; the same one is not asked about again for a minute. Needs the right to create TokenReviews, which
    the cluster role `system:auth-delegator` gives."""

    def __init__(self, api: KubernetesApi, clock: Callable[[], float] = time.monotonic) -> None:
        self._api, self._clock = api, clock
        self._known: dict[bytes, tuple[float, Actor | None]] = {}
        self._lock = threading.Lock()

    def __call__(self, token: str) -> Actor:
        """Raises AccessDenied for a token that is none, Unavailable where nobody can say."""
        name, now = hashlib.sha256(token.encode()).digest(), self._clock()
        with self._lock:
            at, actor = self._known.get(name, (now - KEPT_SECONDS, None))
        if now - at >= KEPT_SECONDS:
            actor = self._ask(token)
            with self._lock:
                self._known.pop(name, None)
                while len(self._known) >= KEPT:
                    del self._known[next(iter(self._known))]
                self._known[name] = (now, actor)
        if actor is None:
            raise AccessDenied("the token that was presented is not one that the API server knows; present a valid one or none")
        return actor

    def _ask(self, token: str) -> Actor | None:
        review = {"apiVersion": GROUP, "kind": "TokenReview", "spec": {"token": token}}
        try:
            status = self._api.create(f"/apis/{GROUP}/tokenreviews", review)["status"]
            return _actor(status["user"]) if status.get("authenticated") is True else None
        except (TidegateError, KeyError, TypeError, AttributeError) as error:
            raise Unavailable(f"who presents a token could not be asked of the API server: {error}") from error


def _actor(user: Mapping[str, Any]) -> Actor:
    return Actor(str(user["username"]), PROOF, True, tuple(map(str, user.get("groups") or ())))
