"""The gateway's table: which requests may be asked twice, and who answers at `/`."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tidegate.adapters.envoy.kinds import INFER, NEVER, OTHER, PREDICT, Kind, RetryPolicy
from tidegate.adapters.envoy.table import Backend, route, route_configuration
from tidegate.adapters.envoy.upstream import OPTIONS, upstream
from tidegate.domain.local import LocalConfig
from tidegate.domain.slots import Slot
from tidegate.ports.local import ModelRoutes

BACKEND = Backend("demand", "demand-blue", "demand/blue", "2s", "demand-green-shadow", "blue")
DEMAND, RETURNS = ModelRoutes("demand", Slot.BLUE), ModelRoutes("returns", Slot.GREEN)


def routes(default: str | None, *models: ModelRoutes) -> list[dict[str, Any]]:
    return route_configuration(LocalConfig(default_model=default), models)["virtual_hosts"][0]["routes"]


def action(kind: Kind) -> dict[str, Any]:
    return route(BACKEND, kind, {"prefix": "/"})["route"]


def test_predictions_are_asked_again_when_their_replica_went_away_and_never_for_an_answer_or_a_time_out() -> None:
    for kind in (PREDICT, INFER):
        policy = action(kind)["retry_policy"]
        assert set(policy["retry_on"].split(",")) == {"connect-failure", "refused-stream", "reset-before-request", "reset"}
        assert policy["num_retries"] == 1
    assert "reset" not in action(OTHER)["retry_policy"]["retry_on"].split(",")


def test_what_changes_something_is_never_asked_twice_nor_copied() -> None:
    """Also a kind that says nothing of it: repeating is what has to be allowed."""
    for kind in (Kind("decide"), Kind("decide", NEVER), Kind("decide", RetryPolicy(()))):
        assert "retry_policy" not in action(kind)
        assert "request_mirror_policies" not in action(kind)


def test_the_model_at_the_root_is_the_one_that_was_chosen_released_or_not() -> None:
    found = routes("returns", DEMAND, RETURNS)
    roots = [each for each in found if each["name"] == "default"]
    assert [each["route"]["cluster"] for each in roots] == ["returns-green"]
    (unreleased,) = [each for each in routes("returns", DEMAND) if each["name"] == "default"]
    assert unreleased["direct_response"] == {"status": 503, "body": {"inline_string": "model returns has no active release"}}


def test_of_several_models_none_is_at_the_root_unless_it_was_chosen_and_the_refusal_says_where_they_are() -> None:
    refused = routes(None, DEMAND, RETURNS)[-1]
    assert refused["match"] == {"prefix": "/"}
    assert refused["direct_response"]["status"] == 404
    said = refused["direct_response"]["body"]["inline_string"]
    assert all(word in said for word in ("/models/demand/", "/models/returns/", "targets.local.defaultModel"))


@pytest.mark.parametrize("default", [None, "demand"])
def test_each_model_answers_at_the_protocols_own_path(default: str | None) -> None:
    for each in routes(default, DEMAND, RETURNS):
        if re.fullmatch(each["match"].get("safe_regex", {}).get("regex", "-"), "/v2/models/returns/infer"):
            assert each["route"]["cluster"] == "returns-green"
            return
    pytest.fail("no route")


def test_a_server_is_spoken_to_in_what_it_speaks() -> None:
    spoken = [
        upstream("one", {}, http2=http2)["typed_extension_protocol_options"][OPTIONS]["explicit_http_config"]
        for http2 in (False, True)
    ]
    assert spoken == [{"http_protocol_options": {}}, {"http2_protocol_options": {}}]
