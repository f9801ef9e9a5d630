"""Runners of pipelines: kfp's local one with real steps, and an endpoint's API as kfp's client speaks it."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from fakes.kfp_api import KfpApi, refusal
from tidegate.adapters.kfp.runner import KfpEndpointRunner, LocalKfpRunner, compile_pipeline, main
from tidegate.domain.errors import InvalidInput, Unavailable
from tidegate.files.digests import file_digest

PIPELINES = sorted((Path(__file__).resolve().parents[2] / "pipelines").glob("*/pipeline.py"))
DEMAND = next(path for path in PIPELINES if path.parent.name == "demand")
TWO_STEPS = """
from kfp import dsl


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def first(word: str, into: dsl.Output[dsl.Artifact]):
    from tidegate.training.messages import say

    say("writing " + word)
    with open(into.path, "w") as file:
        file.write(word)


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def second(found: dsl.Input[dsl.Artifact]) -> str:
    import os

    from tidegate.domain.errors import Conflict
    from tidegate.training.messages import reported

    text = open(found.path).read()

    def body():
        if text == "expected":
            raise Conflict("the word is 'expected', required another")
        if text == "defect":
            raise ZeroDivisionError("a defect of this step")
        if text == "killed":
            os.kill(os.getpid(), 9)
        return text.upper()

    return reported(body)


@dsl.pipeline(name="two-steps")
def two_steps(word: str) -> str:
    return second(found=first(word=word).outputs["into"]).output
"""


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    path = tmp_path / "two_steps.py"
    path.write_text(TWO_STEPS)
    return path


def test_a_run_s_steps_pass_folders_and_say_what_they_do(pipeline: Path, tmp_path: Path) -> None:
    said: list[str] = []
    run = LocalKfpRunner(tmp_path / "runs").run(pipeline, {"word": "tide"}, said.append)
    assert (run.finished, dict(run.outputs)) == (True, {"version": "TIDE"})
    assert said == ["first: writing tide"]
    # of what a training gives, a pipeline takes what it has an argument for
    some = LocalKfpRunner(tmp_path / "runs").run(pipeline, {"word": "low", "project": "tidegate.yaml", "champion": ""})
    assert dict(some.outputs) == {"version": "LOW"}
    assert run.folder is not None
    assert "second" in (run.folder / "log.txt").read_text()


@pytest.mark.parametrize(
    ("word", "kind", "said"),
    [
        ("expected", Exception, "step 'second' failed: the word is 'expected', required another"),
        ("defect", InvalidInput, r"step 'second' failed: .*a defect of this step.*the whole log is .*log\.txt"),
        ("killed", InvalidInput, r"step 'second' failed"),
    ],
)
def test_a_step_that_fails_is_named_in_one_sentence(
    pipeline: Path, tmp_path: Path, word: str, kind: type[Exception], said: str
) -> None:
    with pytest.raises(kind, match=said) as caught:
        LocalKfpRunner(tmp_path / "runs").run(pipeline, {"word": word})
    assert "\n" not in str(caught.value)
    if word == "expected":
        assert type(caught.value).__name__ == "Conflict"


def test_what_is_no_pipeline_is_refused(pipeline: Path, tmp_path: Path) -> None:
    runner = LocalKfpRunner(tmp_path / "runs")
    with pytest.raises(InvalidInput, match="has no argument wrod; it has word"):
        runner.run(pipeline, {"wrod": "x"})
    with pytest.raises(InvalidInput, match="requires word, which a training does not give"):
        runner.run(pipeline, {"until": "2011-09-01T00:00:00+00:00"})
    for text, named in (("x = 1", "defines 0 pipelines"), ("import nothing_of_this_name", "cannot be loaded")):
        pipeline.write_text(text)
        with pytest.raises(InvalidInput, match=named):
            runner.run(pipeline, {})
    with pytest.raises(InvalidInput, match="there is no such Python file"):
        runner.run(tmp_path / "absent.py", {})


@pytest.mark.parametrize("definition", sorted(DEMAND.parents[1].glob("*/pipeline.py")), ids=lambda path: path.parent.name)
def test_the_compiled_pipeline_beside_the_definition_is_up_to_date(tmp_path: Path, definition: Path) -> None:
    into = tmp_path / "pipeline.yaml"
    compile_pipeline(definition, into)
    assert into.read_bytes() == definition.with_suffix(".yaml").read_bytes(), (
        f"run: python -m tidegate.adapters.kfp.runner compile pipelines/{definition.parent.name}/pipeline.py"
    )
    spec = next(yaml.safe_load_all(into.read_text()))
    assert set(spec["root"]["dag"]["tasks"]) == {"extract", "validate", "train", "evaluate", "register"}
    assert spec["root"]["dag"]["tasks"]["train"]["dependentTasks"]
    assert main(["compile", str(tmp_path / "absent.py")]) == 2


@pytest.fixture
def endpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, type[KfpApi]]]:
    """An endpoint that takes what Kubeflow Pipelines' own definitions of its API allow, and nothing else."""
    monkeypatch.setenv("HOME", str(tmp_path))  # kfp's client keeps a file there
    api = type("Api", (KfpApi,), {"seen": [], "refused": [], "experiments": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), api)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", api
    server.shutdown()
    thread.join()
    server.server_close()


GIVEN = {"project": "/p/tidegate.yaml", "state": "/s", "model": "demand", "data": "/d", "until": "2011-06-06T00:00:00+00:00"}
GIVEN |= {"champion": "", "champion_version": ""}


@pytest.mark.parametrize("pipeline", PIPELINES, ids=lambda path: path.parent.name)
def test_an_endpoint_gets_the_compiled_pipeline_and_its_arguments(endpoint: tuple[str, type[KfpApi]], pipeline: Path) -> None:
    url, api = endpoint
    said: list[str] = []
    run = KfpEndpointRunner(url).run(pipeline, GIVEN, said.append)
    assert api.refused == []
    assert (run.run_id, run.finished, run.url) == ("r-17", False, f"{url}/#/runs/details/r-17")
    assert len(said) == 1
    sent = [body for method, path, body in api.seen if (method, path) == ("POST", "/apis/v2beta1/runs")]
    assert len(sent) == 1, "submitted once, whatever happens: a run is not repeated"
    assert (sent[0]["experiment_id"], api.experiments[0]["display_name"]) == ("e1", "tidegate")
    given = sent[0]["runtime_config"]["parameters"]
    assert given["pipeline_digest"] == file_digest(pipeline.with_suffix(".yaml"))
    assert {name: given[name] for name in GIVEN if name in given}.items() <= GIVEN.items()
    KfpEndpointRunner(url).run(pipeline, GIVEN)
    assert len(api.experiments) == 1, "the experiment that is there is taken"


@pytest.mark.parametrize(
    ("method", "address", "body", "why"),
    [
        ("POST", "/apis/v2beta1/run", {}, "there is no POST"),
        ("GET", "/apis/v2beta1/experiments?name=x", None, "has no query parameter name"),
        ("POST", "/apis/v2beta1/runs", {"pipeline": {}}, "body has pipeline, which V2beta1Run has not"),
        ("POST", "/apis/v2beta1/runs", {"display_name": 5}, "body.display_name is int, required str"),
        ("POST", "/apis/v2beta1/runs", {"runtime_config": {"parameter": {}}}, "body.runtime_config has parameter"),
        ("POST", "/apis/v2beta1/runs", {"pipeline_spec": {"rot": {}}, "runtime_config": {}}, "the pipeline is none"),
    ],
)
def test_what_the_api_does_not_have_is_refused(method: str, address: str, body: dict | None, why: str) -> None:
    assert why in refusal(method, address, body)


def test_what_an_endpoint_refuses_is_said_in_its_own_words(
    endpoint: tuple[str, type[KfpApi]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fakes.kfp_api.refusal", lambda method, path, body=None: "no quota" if path.endswith("/runs") else "")
    with pytest.raises(InvalidInput, match=r"submitting pipeline pipeline\.py to .*: the API refused it \(400\): no quota"):
        KfpEndpointRunner(endpoint[0]).run(DEMAND, GIVEN)


def test_an_endpoint_that_does_not_answer_and_a_pipeline_that_is_not_compiled(tmp_path: Path, pipeline: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        runner = KfpEndpointRunner(f"http://127.0.0.1:{closed.getsockname()[1]}")
        with pytest.raises(Unavailable, match="check TIDEGATE_KFP_ENDPOINT") as caught:
            runner.run(DEMAND, dict.fromkeys(("project", "model", "data", "until"), "x"))
        assert "\n" not in str(caught.value)
    with pytest.raises(InvalidInput, match=r"there is no two_steps\.yaml beside it"):
        KfpEndpointRunner("http://127.0.0.1:9").run(pipeline, {})
    assert "TIDEGATE_KFP_ENDPOINT" not in os.environ
