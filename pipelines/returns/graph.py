"""The model as one ONNX graph: what the network says of an image, and what had been ordered, to two calibrated answers.

    images uint8 [n, 28, 28], ordered int64 [n] (an index into CATEGORIES; anything else: not known)
    -> category float [n, 10], condition float [n, 5], review bool [n]

The image, as it is and mirrored, gives calibrated chances of each category and of each damage. What was ordered is evidence
too: nine in ten returns are of the ordered category, and Bayes' rule joins the two. The chance of a wrong item is that of all
other categories; where it is not known what was ordered, no item is wrong. Scaling of bytes to 0..1, both temperatures and
both thresholds lie inside the graph.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17


@dataclass(frozen=True)
class Judgement:
    """What is learned on the calibration part: a temperature a head, and the confidences below which people look."""

    category_temperature: float
    condition_temperature: float
    threshold: float  # where it is known what was ordered
    threshold_without_order: float


def priors(categories: int, wrong_share: float) -> np.ndarray:
    """[categories + 1, categories]: the chance that `ordered` (a row) came back as each; the last row: nothing is known."""
    known = np.full((categories, categories), wrong_share / (categories - 1))
    np.fill_diagonal(known, 1 - wrong_share)
    return np.vstack([known, np.full((1, categories), 1 / categories)]).astype(np.float32)


def graph(weights: dict[str, np.ndarray], judgement: Judgement, wrong_share: float) -> onnx.ModelProto:
    """One float model of the network's weights; heads `category` and `condition`."""
    categories = weights["head_category"].shape[1]
    conditions = weights["head_condition"].shape[1] + 1
    made = _Nodes()
    made("Cast", ["images"], "pixels", to=TensorProto.FLOAT)
    made("Div", ["pixels", made.constant("whole", np.float32(255))], "scaled")
    made("Unsqueeze", ["scaled", made.constant("channel", np.array([1], np.int64))], "image")
    x = _and_mirrored(made, "image")
    for layer in ("conv1", "conv2"):
        x = _pooled(made, layer, _convolution(made, layer, x, weights))
    _task(made, "category", x, weights, judgement.category_temperature)
    _task(made, "condition", x, weights, judgement.condition_temperature)
    _with_order(made, categories, wrong_share)
    made("Mul", ["condition_seen", "right"], "damage")
    made("Concat", ["damage", "wrong"], "condition", axis=1)
    made("ReduceMax", ["category"], "surest_category", axes=[1], keepdims=0)
    made("ReduceMax", ["condition"], "surest_condition", axes=[1], keepdims=0)
    made("Mul", ["surest_category", "surest_condition"], "confidence")
    known = made.constant("threshold", np.float32(judgement.threshold))
    unknown = made.constant("threshold_without_order", np.float32(judgement.threshold_without_order))
    made("Where", ["unknown", unknown, known], "least")
    made("Less", ["confidence", "least"], "review")
    value = helper.make_tensor_value_info
    made_graph = helper.make_graph(
        made.nodes,
        "returns",
        [value("images", TensorProto.UINT8, ["n", 28, 28]), value("ordered", TensorProto.INT64, ["n"])],
        [
            value("category", TensorProto.FLOAT, ["n", categories]),
            value("condition", TensorProto.FLOAT, ["n", conditions]),
            value("review", TensorProto.BOOL, ["n"]),
        ],
        made.constants,
    )
    model = helper.make_model(made_graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    onnx.checker.check_model(model)
    return model


class _Nodes:
    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def __call__(self, kind: str, inputs: list[str], output: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def constant(self, name: str, value: np.ndarray | np.generic) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name


def _affine(made: _Nodes, name: str, weights: dict[str, np.ndarray]) -> list[str]:
    return [made.constant(f"{name}_weight", weights[name]), made.constant(f"{name}_bias", weights[f"{name}_bias"])]


def _convolution(made: _Nodes, name: str, x: str, weights: dict[str, np.ndarray]) -> str:
    """3 x 3 with ReLU; the network keeps a kernel as [9 * channels in, channels out]."""
    channels = weights[name].shape[1]
    kernel = weights[name].reshape(3, 3, -1, channels).transpose(3, 2, 0, 1)
    inputs = [
        x,
        made.constant(f"{name}_weight", np.ascontiguousarray(kernel)),
        made.constant(f"{name}_bias", weights[f"{name}_bias"]),
    ]
    made("Conv", inputs, f"{name}_sum", kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    return made("Relu", [f"{name}_sum"], f"{name}_out")


def _pooled(made: _Nodes, name: str, x: str) -> str:
    return made("MaxPool", [x], f"{name}_pool", kernel_shape=[2, 2], strides=[2, 2])


def _and_mirrored(made: _Nodes, image: str) -> str:
    """[2 n, 1, rows, columns]: all images, and then all of them with left and right exchanged."""
    bounds = [
        made.constant(name, np.array([value], np.int64))
        for name, value in (("last", -1), ("before_first", np.iinfo(np.int64).min), ("columns", 3), ("back", -1))
    ]
    made("Slice", [image, *bounds], "mirrored")
    return made("Concat", [image, "mirrored"], "images_both", axis=0)


def _task(made: _Nodes, task: str, x: str, weights: dict[str, np.ndarray], temperature: float) -> None:
    """`category_seen` or `condition_seen`, by the layers that the task has for itself."""
    x = _convolution(made, f"conv3_{task}", x, weights)
    made("Transpose", [x], f"{task}_maps", perm=[0, 2, 3, 1])
    made("Flatten", [f"{task}_maps"], f"{task}_flat")
    made("Gemm", [f"{task}_flat", *_affine(made, f"dense_{task}", weights)], f"{task}_dense_sum")
    made("Relu", [f"{task}_dense_sum"], f"{task}_dense")
    made("ReduceMax", [x], f"{task}_highest", axes=[2, 3], keepdims=0)
    made("Concat", [f"{task}_dense", f"{task}_highest"], f"{task}_of_both", axis=1)
    _mean_of_both(made, f"{task}_of_both", f"{task}_hidden", task)
    made("Gemm", [f"{task}_hidden", *_affine(made, f"head_{task}", weights)], f"{task}_logits")
    made("Div", [f"{task}_logits", made.constant(f"{task}_temperature", np.float32(temperature))], f"{task}_tempered")
    made("Softmax", [f"{task}_tempered"], f"{task}_seen", axis=1)


def _mean_of_both(made: _Nodes, rows: str, output: str, task: str) -> None:
    """Heads are linear: the mean of what both images give before them is that of their logits."""
    parts = [f"{task}_of_image", f"{task}_of_mirrored"]
    made.nodes.append(helper.make_node("Split", [rows], parts, name=f"{task}_halves", axis=0))
    made("Add", parts, f"{task}_added")
    made("Mul", [f"{task}_added", made.constant(f"{task}_half", np.float32(0.5))], output)


def _with_order(made: _Nodes, categories: int, wrong_share: float) -> None:
    """`category` from `category_seen` and `ordered`; `right` and `wrong`, [n, 1]: that the item is the ordered one."""
    made("Less", ["ordered", made.constant("first_category", np.int64(0))], "below")
    made("Greater", ["ordered", made.constant("last_category", np.int64(categories - 1))], "above")
    made("Or", ["below", "above"], "unknown")
    made("Where", ["unknown", made.constant("no_category", np.int64(categories)), "ordered"], "order")
    made("Gather", [made.constant("priors", priors(categories, wrong_share)), "order"], "expected", axis=0)
    made("Mul", ["category_seen", "expected"], "joint")
    made("ReduceSum", ["joint", made.constant("classes", np.array([1], np.int64))], "evidence", keepdims=1)
    made("Div", ["joint", "evidence"], "category")
    fitting = np.vstack([np.eye(categories), np.ones((1, categories))]).astype(np.float32)
    made("Gather", [made.constant("fitting", fitting), "order"], "fits", axis=0)
    made("Mul", ["category", "fits"], "fitting_chance")
    made("ReduceSum", ["fitting_chance", "classes"], "right", keepdims=1)
    made("Sub", [made.constant("one", np.float32(1)), "right"], "wrong_signed")
    made("Max", ["wrong_signed", made.constant("nothing", np.float32(0))], "wrong")
