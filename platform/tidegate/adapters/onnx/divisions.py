"""Divisions of whole numbers in a model's graph by which a request can end the process that computes it.

The least whole number of a type divided by -1 does not fit into the type, and the processor traps: ONNX Runtime's `Div` of
INT32 and INT64 does not look, so the process dies of SIGFPE, and the next one with it that is asked the same. (A division by 0
is an error that it returns, and `Mod` is safe.) What a request, or a feature, may be is not known, so a division is dangerous
unless its divisor cannot be -1 or its dividend cannot be the least number, by the graph itself: a constant, a shape or an
index, `Max` or `Clip` from a constant of at least 0, or, of a divisor, `Abs` and what comes of an unsigned number.

Limits: a division whose type cannot be inferred from either side (of operators that ONNX does not define) is not looked at, and
what is computed of constants alone is taken to be safe.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np

MEASURES = frozenset({"Shape", "Size", "ArgMax", "ArgMin", "NonZero"})  # small, whatever the input holds
SAME_VALUES = frozenset({"Identity", "Reshape", "Squeeze", "Unsqueeze", "Expand", "Flatten", "Transpose"})
STANDARD = ("", "ai.onnx")


@dataclass
class _Known:
    """What is known of values by their names: `free` may be anything, `from_0` are at least 0, `not_negative` at least 0 or the
    least number."""

    types: dict[str, int] = field(default_factory=dict)
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    free: set[str] = field(default_factory=set)
    from_0: set[str] = field(default_factory=set)
    not_negative: set[str] = field(default_factory=set)

    def within(self) -> _Known:
        """For a graph inside of this one, which sees all of it."""
        return _Known(dict(self.types), dict(self.constants), set(self.free), set(self.from_0), set(self.not_negative))


def dangerous_division(content: bytes) -> str:
    """The first such division of the model in `content`, in words; empty where there is none."""
    import onnx
    from onnx import inliner, shape_inference

    model = onnx.load_model_from_string(content)
    if model.functions:
        model = inliner.inline_local_functions(model)
    with suppress(shape_inference.InferenceError, ValueError):  # ONNX Runtime runs it all the same: types as written down
        model = shape_inference.infer_shapes(model)
    known = _Known()
    known.free.update(value.name for value in model.graph.input)
    return _search(model.graph, known)


def _search(graph: Any, known: _Known) -> str:
    from onnx import numpy_helper

    for value in (*graph.input, *graph.value_info, *graph.output):
        known.types[value.name] = value.type.tensor_type.elem_type
    for tensor in graph.initializer:
        known.types[tensor.name] = tensor.data_type
        known.constants[tensor.name] = numpy_helper.to_array(tensor)
        known.free.discard(tensor.name)
    for node in graph.node:
        graphs = [g for attribute in node.attribute for g in ([attribute.g] if attribute.HasField("g") else attribute.graphs)]
        for inner in graphs:
            inside = known.within()
            inside.free.update(value.name for value in inner.input)  # of a loop: whatever goes round
            if found := _search(inner, inside):
                return found
        if found := _judged(node, known):
            return found
        _learn(node, known, bool(graphs))
    return ""


def _learn(node: Any, known: _Known, has_graphs: bool) -> None:
    from onnx import numpy_helper

    standard, outputs = node.domain in STANDARD, list(node.output)
    if standard and node.op_type == "Constant":
        for attribute in node.attribute:
            if attribute.name == "value":
                known.constants[outputs[0]] = numpy_helper.to_array(attribute.t)
                known.types[outputs[0]] = attribute.t.data_type
            elif attribute.name in ("value_int", "value_ints"):
                known.constants[outputs[0]] = np.array(list(attribute.ints) or [attribute.i])
        return
    if (has_graphs or any(name in known.free for name in node.input)) and not (standard and node.op_type in MEASURES):
        known.free.update(outputs)
    if standard and _begins_at_0(node, known):
        known.from_0.update(outputs)
    if standard and (node.op_type == "Abs" or (node.op_type == "Cast" and _is_unsigned(known.types.get(node.input[0])))):
        known.not_negative.update(outputs)
    if standard and node.op_type in SAME_VALUES:
        for kept in (known.from_0, known.not_negative):
            if node.input[0] in kept:
                kept.update(outputs)


def _begins_at_0(node: Any, known: _Known) -> bool:
    bounds: Iterable[str] = node.input if node.op_type == "Max" else node.input[1:2] if node.op_type == "Clip" else ()
    arrays = [known.constants[name] for name in bounds if name in known.constants]
    return any(array.size > 0 and array.dtype.kind in "iu" and int(array.min()) >= 0 for array in arrays)


def _is_unsigned(kind: int | None) -> bool:
    from onnx import TensorProto

    return kind in (TensorProto.BOOL, TensorProto.UINT8, TensorProto.UINT16)  # which every signed type with `Div` holds


def _judged(node: Any, known: _Known) -> str:
    from onnx import TensorProto

    if node.op_type != "Div" or node.domain not in STANDARD:
        return ""
    kinds: dict[int | None, str] = {TensorProto.INT32: "INT32", TensorProto.INT64: "INT64"}
    kind = next((kinds[t] for name in (*node.input, *node.output) if (t := known.types.get(name)) in kinds), "")
    dividend, divisor = node.input
    if not kind or not _may_be(dividend, int(np.iinfo(kind.lower()).min), known.from_0, known):
        return ""
    if not _may_be(divisor, -1, known.from_0 | known.not_negative, known):
        return ""
    return f"node '{node.name or node.output[0]}' divides {kind} '{dividend}' by '{divisor}'"


def _may_be(name: str, value: int, bounded: set[str], known: _Known) -> bool:
    if name in known.constants:
        return bool((known.constants[name] == value).any())
    return name in known.free and name not in bounded
