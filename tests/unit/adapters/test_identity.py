"""A process of the cluster is who the API server says it is; where that says nothing, nothing is proven."""

from __future__ import annotations

from typing import Any, cast

import pytest

from tidegate.adapters.kubernetes.api import Forbidden, KubernetesApi
from tidegate.adapters.kubernetes.identity import reviewed
from tidegate.domain.actor import Actor
from tidegate.domain.errors import NotFound, Unavailable

LOGIN = Actor("uid 10001", "login of uid 10001")
GATES = "system:serviceaccount:tidegate:gates"


class Api:
    """Answers a review, or refuses it."""

    def __init__(self, answer: object) -> None:
        self.answer, self.asked = answer, list[str]()

    def create(self, path: str, document: dict[str, Any]) -> object:
        self.asked.append(f"{path} {document['kind']}")
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def test_the_api_server_proves_who_a_process_is() -> None:
    api = Api({"status": {"userInfo": {"username": GATES, "groups": ["system:authenticated"]}}})
    actor = reviewed(cast(KubernetesApi, api), LOGIN)
    assert actor == Actor(GATES, "the API server's review", True, ("system:authenticated",))
    assert str(actor) == f"{GATES} (the API server's review)"
    assert api.asked == ["/apis/authentication.k8s.io/v1/selfsubjectreviews SelfSubjectReview"]


@pytest.mark.parametrize(
    "answer", [NotFound("no such path"), Forbidden("not allowed"), Unavailable("away"), {}, {"status": None}]
)
def test_without_an_answer_it_is_its_login_which_proves_nothing(answer: object) -> None:
    actor = reviewed(cast(KubernetesApi, Api(answer)), LOGIN)
    assert (actor, actor.proven) == (LOGIN, False)
