"""The gate service's HTTP: one sample of 1 for a PASS, and no way in which anything else looks like one."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from tidegate.adapters.http.gates import gate_app
from tidegate.domain.actor import Actor
from tidegate.domain.errors import AccessDenied, Conflict, NotFound, Unavailable
from tidegate.domain.verdict import Evidence, GateResult, Verdict, to_json
from tidegate.rollout.cluster.gate_service import Answer

PATH = "/v1/models/demand/releases/abc/gates/parity"
RESULT = to_json(GateResult("parity", "demand@abc", Verdict.FAIL, Evidence("3 vectors differ", 300)))


def client(answer: Answer | Exception, problem: str = "") -> TestClient:
    def answered(model: str, digest: str, gate: str) -> Answer:
        assert (model, digest, gate) == ("demand", "abc", "parity")
        if isinstance(answer, Exception):
            raise answer
        return answer

    def identify(token: str) -> Actor:
        if token != "ada's":
            raise AccessDenied("the token that was presented is not one that the API server knows")
        return Actor("ada", "the API server's review", proven=True, roles=("sre",))

    return TestClient(gate_app(answered, lambda: problem, identify), raise_server_exceptions=False)


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(("sample", "values"), [(1, ["1"]), (0, ["0"]), (-1, ["-1"]), (None, [])])
def test_an_instant_query_has_one_sample_for_a_verdict_and_none_for_an_open_one(
    method: str, sample: int | None, values: list[str]
) -> None:
    body = client(Answer("parity", "demand@abc", sample, "why")).request(method, f"{PATH}/api/v1/query").json()
    assert body["status"] == "success"
    assert body["data"]["resultType"] == "vector"
    assert [found["value"][1] for found in body["data"]["result"]] == values


@pytest.mark.parametrize(
    ("error", "status"),
    [(NotFound("no"), 404), (Conflict("no"), 409), (Unavailable("no"), 503), (RuntimeError("a defect"), 500)],
)
def test_an_error_is_an_error_and_no_sample(error: Exception, status: int) -> None:
    answer = client(error).post(f"{PATH}/api/v1/query")
    assert answer.status_code == status
    assert answer.json()["status"] == "error"
    assert "data" not in answer.json()


def test_people_see_the_evidence() -> None:
    body = client(Answer("parity", "demand@abc", 0, "3 vectors differ", RESULT)).get(PATH).json()
    assert (body["sample"], body["result"]["verdict"]) == (0, "FAIL")
    assert body["result"]["evidence"]["sample_size"] == 300


def test_it_is_ready_when_nothing_is_in_the_way_and_says_what_is() -> None:
    open_ = Answer("parity", "demand@abc", None, "")
    assert client(open_).get("/readyz").status_code == 200
    late = client(open_, "the cluster does not answer").get("/readyz")
    assert (late.status_code, late.json()["problem"]) == (503, "the cluster does not answer")
    assert client(open_, "late").get("/livez").status_code == 200


def test_metrics_count_answers_by_gate() -> None:
    asking = client(Answer("parity", "demand@abc", 0, "", RESULT))
    asking.get(f"{PATH}/api/v1/query")
    page = asking.get("/metrics").text
    assert 'tidegate_gate_answers_total{answer="fail",gate="parity",model="demand"} 1.0' in page


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
def test_it_takes_no_orders(method: str) -> None:
    assert client(Answer("parity", "demand@abc", 1, "")).request(method, PATH).status_code == 405


def test_a_caller_needs_no_token_and_one_that_is_presented_is_reviewed() -> None:
    gates = client(Answer("parity", "demand@abc", 1, "why"))
    assert gates.get(PATH).json()["asked_by"] is None
    asked = gates.get(PATH, headers={"authorization": "Bearer ada's"}).json()["asked_by"]
    assert asked == {"identity": "ada", "proof": "the API server's review", "proven": True, "roles": ["sre"]}


@pytest.mark.parametrize("header", ["Bearer eve's", "Bearer ", "Basic YWRh", "ada's"])
@pytest.mark.parametrize("path", [PATH, f"{PATH}/api/v1/query"])
def test_a_token_that_is_not_valid_gets_no_answer(path: str, header: str) -> None:
    answer = client(Answer("parity", "demand@abc", 1, "why")).get(path, headers={"authorization": header})
    assert (answer.status_code, answer.json()["errorType"]) == (401, "AccessDenied")
    assert "data" not in answer.json()
