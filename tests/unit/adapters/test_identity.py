"""A process of the cluster is who the API server says it is; where that says nothing, nothing is proven."""

from __future__ import annotations

from typing import Any, cast

import pytest

from tidegate.adapters.kubernetes.api import Forbidden, KubernetesApi
from tidegate.adapters.kubernetes.identity import KEPT_SECONDS, TokenReviews, reviewed
from tidegate.domain.actor import Actor
from tidegate.domain.errors import AccessDenied, NotFound, Unavailable

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


KNOWN = {"status": {"authenticated": True, "user": {"username": GATES, "groups": ["sre"]}}}


def reviews(api: Api, now: list[float] | None = None) -> TokenReviews:
    return TokenReviews(cast(KubernetesApi, api), lambda: (now or [0.0])[0])


def test_a_token_is_its_owners_by_the_api_servers_word_which_is_asked_once_a_minute() -> None:
    api, now = Api(KNOWN), [0.0]
    who = reviews(api, now)
    for now[0] in (0.0, 1.0, KEPT_SECONDS - 1):
        assert who("a token") == Actor(GATES, "the API server's review", True, ("sre",))
    assert len(api.asked) == 1
    api.answer, now[0] = {"status": {"authenticated": False}}, KEPT_SECONDS
    with pytest.raises(AccessDenied, match="not one that the API server knows"):
        who("a token")
    assert api.asked[-1] == "/apis/authentication.k8s.io/v1/tokenreviews TokenReview"


@pytest.mark.parametrize("status", [{}, {"authenticated": False}, {"authenticated": "yes", "user": {"username": "root"}}])
def test_a_token_that_is_not_authenticated_is_nobodys(status: object) -> None:
    with pytest.raises(AccessDenied):
        reviews(Api({"status": status}))("a token")


@pytest.mark.parametrize("answer", [Forbidden("not allowed"), Unavailable("away"), {}, {"status": {"authenticated": True}}])
def test_where_the_api_server_does_not_say_nobody_is_taken_for_somebody(answer: object) -> None:
    api = Api(answer)
    with pytest.raises(Unavailable, match="could not be asked"):
        reviews(api)("a token")
    api.answer = KNOWN
    assert reviews(api)("a token").identity == GATES


def test_tokens_are_not_kept_without_bound_and_never_as_they_are() -> None:
    who = reviews(Api(KNOWN))
    for number in range(1000):
        who(f"token {number}")
    assert len(who._known) <= 256
    assert not any(b"token" in name for name in who._known)
