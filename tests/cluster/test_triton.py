"""A real Triton, installed by the model's chart: it answers what the model says, keeps its memory closed, and is scaled by KEDA
by the time that requests wait in its queue.

Triton serves on CPUs here, by the same model repository as on GPUs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from infra.images import build
from tests.cluster.access import Kubernetes
from tests.cluster.deployment import MODEL
from tests.cluster.scaling import Scaled, Seen, Trial, watched

from serving_builders import build_release

pytestmark = pytest.mark.timeout(600)
WIDTH, LAYERS = 2048, 8  # of a model that takes some hundredths of a second


def slow_model() -> bytes:
    """quantiles = features @ first @ I ... @ I @ last, float32 [n, 3]: identities keep a core busy and change nothing."""
    from onnx import TensorProto, helper, numpy_helper

    weights = np.zeros((4, WIDTH), dtype=np.float32)
    weights[np.arange(4), np.arange(4)] = 1
    arrays = {"first": weights, "same": np.eye(WIDTH, dtype=np.float32), "last": np.ones((WIDTH, 3), dtype=np.float32)}
    names = ["features", *(f"hidden{i}" for i in range(LAYERS + 1)), "quantiles"]
    by = ["first", *["same"] * LAYERS, "last"]
    graph = helper.make_graph(
        [helper.make_node("MatMul", [names[i], by[i]], [names[i + 1]]) for i in range(LAYERS + 2)],
        "slow",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [None, 4])],
        [helper.make_tensor_value_info("quantiles", TensorProto.FLOAT, [None, 3])],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    return bytes(model.SerializeToString())


def body(rows: list[list[float]]) -> str:
    data = [value for row in rows for value in row]
    return json.dumps({"inputs": [{"name": "features", "datatype": "FP32", "shape": [len(rows), 4], "data": data}]})


def answer(triton: Scaled, path: str, post: str = "") -> tuple[int, str]:
    """What the gateway answers a client."""
    through = triton.kubernetes.through(triton.deployed.home, "tidegate-gateway", f"/models/{MODEL}/v2/{path}")
    return triton.kubernetes.answer(through, post=post)


@pytest.fixture(scope="module")
def triton(kubernetes: Kubernetes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scaled]:
    """The model `demand` on Triton, behind a gateway; its gates pass."""
    release = build_release(tmp_path_factory.mktemp("releases"), onnx=slow_model())
    values = {"engine": "triton", "image": kubernetes.publish(build.triton(release, lambda _: None))}
    path = f"v2/models/{MODEL}/infer"
    with watched(kubernetes, "triton") as (deployed, prometheus, gateway):
        yield Scaled(deployed, prometheus, gateway, release.name, path, body([[1, 2, 3, 4]]), values)


@pytest.fixture(scope="module")
def scaled(triton: Scaled, say: Callable[[str], None]) -> Seen:
    # what waits is answered in one run, so that more load than one replica was asked for is answered later and not lost
    trial = Trial(triton, say, share=0.6, rise=0.45, step=22)
    trial.measure()
    trial.seen.target = trial.at_load()
    trial.rise_and_fall()
    return trial.seen


def test_replicas_follow_the_time_in_the_queue_up_and_down(scaled: Seen) -> None:
    assert scaled.most > 1, scaled
    assert scaled.least_after == 1
    assert scaled.conditions["Ready"] == "True"
    assert scaled.conditions.get("Fallback") != "True"


def test_no_request_is_lost_while_replicas_come_and_go(scaled: Seen) -> None:
    assert set(scaled.outcomes) == {"answered"}, scaled.outcomes
    assert scaled.outcomes.total() > 500
    assert min(scaled.endpoints) >= 1


def test_it_answers_what_the_model_says(scaled: Seen, triton: Scaled) -> None:
    rows = [[1, 2, 3, 4], [0.5, 0, 0, 0.25]]
    status, text = answer(triton, f"models/{MODEL}/infer", body(rows))
    assert status == 200, text
    (output,) = json.loads(text)["outputs"]
    assert (output["name"], output["shape"]) == ("quantiles", [2, 3])
    assert output["data"] == [10.0] * 3 + [0.75] * 3


@pytest.mark.parametrize(
    ("path", "post", "refused"),
    [
        ("systemsharedmemory/status", "", 403),
        ("cudasharedmemory/status", "", 403),
        ("systemsharedmemory/region/r/register", '{"key": "/r", "byte_size": 8}', 405),  # by the gateway: it predicts nothing
        ("repository/index", "{}", 405),
        (f"repository/models/{MODEL}/unload", "{}", 405),
        ("logging", "", 403),
        (f"models/{MODEL}/trace/setting", '{"trace_file": "/tmp/t"}', 405),
    ],
)
def test_what_reaches_into_memory_or_changes_the_server_is_closed(
    scaled: Seen, triton: Scaled, path: str, post: str, refused: int
) -> None:
    assert answer(triton, path, post)[0] == refused
    assert answer(triton, "health/ready")[0] == 200
