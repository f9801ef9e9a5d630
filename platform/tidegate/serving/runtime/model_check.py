"""Whether a model is what its contract says, and can be served: asked when a version is registered, when a release is built,
and by each process that loads one.

It runs the model: one row and three at once, and, where rows of its reference are at hand, those. Without them an input is
zeros or empty texts; a dimension of any size that is not the rows' is tried in a few sizes. A model may refuse made-up texts
and whole numbers (a category that it does not know), and that says nothing of it: slots have no reference, registration has.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tidegate.domain.contract import FeatureContract, InputTensor
from tidegate.domain.datatypes import dtype_of
from tidegate.domain.errors import InvalidInput
from tidegate.domain.given_tensors import check_inputs
from tidegate.ports.tensor_model import TensorModel, inputs_of

SIZES = (1, 8, 32, 128)  # of dimensions that may have any
ROWS_AT_ONCE = 256
NO_ROWS: Mapping[str, np.ndarray] = {}


def check_model(what: str, contract: FeatureContract, model: TensorModel, rows: Mapping[str, np.ndarray] = NO_ROWS) -> None:
    """Raise InvalidInput, which begins with `what` and names the tensor, what it is and what is required.

    `rows` are some tensors of the model's reference, with the rows as their first axis.
    """
    check_inputs(contract, inputs_of(model), what)
    for n in (1, 3):
        _check_rows(what, contract.tensors, model, n, rows)
    whole = [tensor for tensor in contract.tensors if tensor.name in rows]
    if len(whole) == len(contract.tensors) > 0:
        _check_reference(what, model, rows)


def _check_rows(
    what: str, tensors: tuple[InputTensor, ...], model: TensorModel, n: int, rows: Mapping[str, np.ndarray]
) -> None:
    problem = ""
    for size in SIZES:
        try:
            outputs = model.run({tensor.name: _example(tensor, n, size, rows) for tensor in tensors})
        except InvalidInput as error:
            problem = "" if any(_may_be_refused(tensor, rows) for tensor in tensors) else str(error)
            continue
        short = [name for name, values in outputs.items() if values.shape[:1] != (n,)]
        if not outputs or not short:
            return
        problem = f"its output '{short[0]}' has shape {list(outputs[short[0]].shape)}"
        break
    if not problem:
        return
    name, shape = tensors[0].name, ", ".join(["None", *map(str, tensors[0].shape[1:])])
    raise InvalidInput(
        f"{what}: the model cannot take {n} rows at once ({problem}); export it again with a dynamic first axis (torch.onnx: "
        f"dynamic_axes={{'{name}': {{0: 'rows'}}}}; skl2onnx: shape [{shape}])"
    )


def _check_reference(what: str, model: TensorModel, rows: Mapping[str, np.ndarray]) -> None:
    count = len(next(iter(rows.values())))
    for start in range(0, count, ROWS_AT_ONCE):
        for name, values in model.run({name: array[start : start + ROWS_AT_ONCE] for name, array in rows.items()}).items():
            finite = np.isfinite(values).reshape(len(values), -1).all(axis=1) if values.dtype.kind == "f" else np.array([True])
            if not finite.all():
                row = start + int(np.flatnonzero(~finite)[0])
                raise InvalidInput(
                    f"{what}: the model's output '{name}' is not finite for row {row} of the reference, required finite values "
                    "for every row that the model was made for; mend the model and register it again"
                )


def _may_be_refused(tensor: InputTensor, rows: Mapping[str, np.ndarray]) -> bool:
    return tensor.name not in rows and dtype_of(tensor.datatype).kind in "Oiu"


def _example(tensor: InputTensor, n: int, size: int, rows: Mapping[str, np.ndarray]) -> np.ndarray:
    if tensor.name in rows and len(rows[tensor.name]):
        return np.resize(rows[tensor.name], (n, *rows[tensor.name].shape[1:]))
    shape = (n, *(size if each == -1 else each for each in tensor.shape[1:]))
    dtype = dtype_of(tensor.datatype)
    return np.full(shape, "", dtype=dtype) if dtype.kind == "O" else np.zeros(shape, dtype=dtype)
