"""Which divisions of whole numbers a request could end a process by, and which the graph itself makes safe."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from tensor_models import Tensors, node, onnx_of
from tidegate.adapters.onnx.divisions import dangerous_division

LEAST = np.iinfo(np.int64).min
TWO: Tensors = {"a": ("INT64", [None]), "b": ("INT64", [None])}


def model(*nodes: Any, kind: str = "INT64", inputs: Tensors = TWO, **weights: Any) -> bytes:
    made = {name: value if isinstance(value, np.ndarray) else np.array([value]) for name, value in weights.items()}
    return onnx_of(nodes, inputs, {"y": (kind, [None])}, made)


DIV = node("Div", ["a", "b"], ["y"])
BY_C = node("Div", ["a", "c"], ["y"])


def test_the_runtime_still_dies_of_it(tmp_path: Path) -> None:
    """Where it does not any more, nothing has to be refused."""
    (tmp_path / "m.onnx").write_bytes(model(DIV))
    code = (
        "import numpy as np, onnxruntime as o; "
        f"o.InferenceSession('m.onnx').run(None, {{'a': np.array([{LEAST}]), 'b': np.array([-1])}})"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True)
    assert ended.returncode == -signal.SIGFPE


@pytest.mark.parametrize("kind", ["INT64", "INT32"])
def test_a_division_by_what_a_request_brings_is_named(kind: str) -> None:
    inputs: Tensors = {"a": (kind, [None]), "b": (kind, [None])}
    assert dangerous_division(model(DIV, kind=kind, inputs=inputs)) == f"node 'y' divides {kind} 'a' by 'b'"


@pytest.mark.parametrize(
    "nodes",
    [
        [node("Add", ["b", "one"], ["c"]), BY_C],
        [node("Neg", ["one"], ["minus"]), node("Mul", ["b", "minus"], ["c"]), BY_C],
        [node("Max", ["b", "minus_1"], ["c"]), BY_C],
        [node("Clip", ["b", "minus_1"], ["c"]), BY_C],
        [node("Abs", ["a"], ["d"]), node("Div", ["d", "b"], ["y"])],  # of the least number it is the least number
        [node("Div", ["a", "minus_1"], ["y"])],
        [node("Div", ["least", "b"], ["y"])],
        [node("Cast", ["f"], ["c"], to=TensorProto.INT64), BY_C],
        [node("Max", ["b", "one"], ["m"]), node("Sub", ["m", "one"], ["n"]), node("Sub", ["n", "one"], ["c"]), BY_C],
    ],
)
def test_what_only_seems_bounded_is_dangerous(nodes: list[Any]) -> None:
    content = model(*nodes, inputs={**TWO, "f": ("FP32", [None])}, one=1, minus_1=-1, least=LEAST)
    assert "divides INT64" in dangerous_division(content)


@pytest.mark.parametrize(
    "nodes",
    [
        [node("Div", ["a", "one"], ["y"])],
        [node("Div", ["one", "b"], ["y"])],
        [node("Max", ["b", "one"], ["c"]), BY_C],
        [node("Clip", ["b", "zero"], ["c"]), BY_C],
        [node("Abs", ["b"], ["c"]), BY_C],
        [node("Max", ["a", "zero"], ["d"]), node("Div", ["d", "b"], ["y"])],
        [node("Cast", ["byte"], ["c"], to=TensorProto.INT64), BY_C],
        [node("Abs", ["b"], ["d"]), node("Unsqueeze", ["d", "zero"], ["e"]), node("Squeeze", ["e", "zero"], ["c"]), BY_C],
        [node("Shape", ["b"], ["c"]), BY_C],
        [node("Shape", ["b"], ["s"]), node("Gather", ["s", "zero"], ["t"]), node("Div", ["t", "b"], ["y"])],
        [node("Mod", ["a", "b"], ["y"])],
        [node("Constant", [], ["c"], value_int=7), BY_C],
        [node("Constant", [], ["c"], value=numpy_helper.from_array(np.array([3, 7]))), BY_C],
    ],
)
def test_what_cannot_trap_is_let_through(nodes: list[Any]) -> None:
    content = model(*nodes, inputs={**TWO, "byte": ("UINT8", [None])}, one=1, zero=0)
    assert dangerous_division(content) == ""


def test_floats_are_divided_as_ever() -> None:
    floats: Tensors = {"a": ("FP32", [None]), "b": ("FP32", [None])}
    assert dangerous_division(model(DIV, kind="FP32", inputs=floats)) == ""
    as_floats = [node("Cast", [name], [f"{name}_f"], to=TensorProto.FLOAT) for name in ("a", "b")]
    assert dangerous_division(model(*as_floats, node("Div", ["a_f", "b_f"], ["y"]), kind="FP32")) == ""


def onnx_loop() -> bytes:
    """Divides a constant by what goes round: -1 in the second round, without any input of the graph."""

    def whole(name: str) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.INT64, [1])

    inner = [
        node("Div", ["least", "divisor"], ["next"]),
        node("Sub", ["divisor", "two"], ["less"]),
        node("Identity", ["go"], ["on"]),
    ]
    flags = [helper.make_tensor_value_info(name, TensorProto.BOOL, []) for name in ("go", "on")]
    turn = helper.make_tensor_value_info("i", TensorProto.INT64, [])
    body = helper.make_graph(inner, "body", [turn, flags[0], whole("divisor")], [flags[1], whole("less"), whole("next")])
    loop = node("Loop", ["rounds", "", "one"], ["last", "y"], body=body)
    return model(loop, one=1, two=2, least=LEAST, rounds=2)


def test_a_division_inside_a_branch_a_loop_or_a_function_is_found() -> None:
    value = helper.make_tensor_value_info("y", TensorProto.INT64, [None])
    branches = [helper.make_graph([node("Div", ["a", "b"], ["y"])], name, [], [value]) for name in ("yes", "no")]
    inputs: Tensors = {**TWO, "which": ("BOOL", [])}
    content = model(node("If", ["which"], ["y"], then_branch=branches[0], else_branch=branches[1]), inputs=inputs)
    assert "by 'b'" in dangerous_division(content)
    turns = onnx_loop()
    assert "by 'divisor'" in dangerous_division(turns)
    share = helper.make_function("own", "Share", ["a", "b"], ["y"], [DIV], [helper.make_opsetid("", 18)])
    call = helper.make_node("Share", ["a", "b"], ["y"], domain="own")
    described = [helper.make_tensor_value_info(name, TensorProto.INT64, [None]) for name in ("a", "b")]
    graph = helper.make_graph([call], "calls", described, [value])
    imports = [helper.make_opsetid("", 18), helper.make_opsetid("own", 1)]
    made = helper.make_model(graph, opset_imports=imports, ir_version=9, functions=[share])
    assert "by 'b'" in dangerous_division(bytes(made.SerializeToString()))
