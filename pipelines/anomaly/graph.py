"""The detector as an ONNX graph: readings float [n, W] -> score float [n, 1], alarm bool [n].

The same operations as detector.scores: ranges before each of the last readings come from one maximum over the window's head and
a running maximum (a pool that looks back) over its tail.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
UNKNOWN = 3.4e38  # larger than any reading; in place of infinity, whose difference with itself is not a number


def graph(window: int, quiet: int, threshold: float, highest: float, smallest: float) -> onnx.ModelProto:
    nodes: list[onnx.NodeProto] = []
    constants: list[onnx.TensorProto] = []

    def node(kind: str, inputs: list[str], output: str, **attributes: object) -> str:
        nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def constant(name: str, value: object, dtype: type = np.float32) -> str:
        constants.append(numpy_helper.from_array(np.array(value, dtype=dtype), name))
        return name

    def cut(source: str, first: int, last: int, output: str) -> str:
        places = [constant(f"{output}_{end}", [at], np.int64) for end, at in (("first", first), ("last", last))]
        return node("Slice", [source, *places, "rows_axis"], output)

    zero, one = constant("zero", 0.0), constant("one", 1.0)
    constant("rows_axis", [1], np.int64)
    constant("channel", [1], np.int64)
    tail = window - quiet - 1
    node("IsNaN", ["readings"], "missing")
    ranges = {}
    node("Neg", ["readings"], "negative")
    for side, source in (("high", "readings"), ("low", "negative")):  # the lowest is the negative of the negatives' highest
        node("Where", ["missing", constant(f"{side}_unknown", -UNKNOWN), source], f"{side}_known")
        cut(f"{side}_known", 0, tail, f"{side}_head")
        node("ReduceMax", [f"{side}_head"], f"{side}_before", axes=[1], keepdims=1)
        cut(f"{side}_known", tail, window - 1, f"{side}_tail")
        node("Concat", [f"{side}_before", f"{side}_tail"], f"{side}_joined", axis=1)
        node("Unsqueeze", [f"{side}_joined", "channel"], f"{side}_line")
        node("MaxPool", [f"{side}_line"], f"{side}_running", kernel_shape=[quiet + 1], pads=[quiet, 0], strides=[1])
        ranges[side] = node("Squeeze", [f"{side}_running", "channel"], side)
    cut("readings", tail, window, "values")
    cut("negative", tail, window, "turned")
    node("Add", ["high", "low"], "span")
    node("Max", ["span", constant("smallest", smallest)], "width")
    node("Sub", ["values", "high"], "above")
    node("Sub", ["turned", "low"], "below")
    node("Max", ["above", "below"], "outside")
    node("Div", ["outside", "width"], "beyond")
    node("Clip", ["beyond", zero, constant("highest", highest)], "novelty_known")
    node("IsNaN", ["values"], "value_missing")
    node("Greater", ["high", constant("nothing_known", -UNKNOWN / 2)], "range_known")
    node("Not", ["range_known"], "range_missing")
    node("Or", ["value_missing", "range_missing"], "not_judged")
    node("Where", ["not_judged", zero, "novelty_known"], "novelty")
    cut("novelty", quiet, quiet + 1, "newest")
    cut("novelty", 0, quiet, "earlier")
    node("ReduceMax", ["earlier"], "loudest", axes=[1], keepdims=1)
    node("Greater", ["newest", "loudest"], "new")
    node("Where", ["new", "newest", zero], "kept")
    node("Add", ["kept", one], "kept_and_one")
    node("Div", ["kept", "kept_and_one"], "score")
    node("GreaterOrEqual", ["score", constant("threshold", threshold)], "alarm_row")
    node("Squeeze", ["alarm_row", "channel"], "alarm")
    value = helper.make_tensor_value_info
    made = helper.make_graph(
        nodes,
        "anomaly",
        [value("readings", TensorProto.FLOAT, ["n", window])],
        [value("score", TensorProto.FLOAT, ["n", 1]), value("alarm", TensorProto.BOOL, ["n"])],
        constants,
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    onnx.checker.check_model(model)
    return model
