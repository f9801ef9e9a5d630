"""From features to the model's inputs: tensors as the contract names them, of columns that either path made.

A missing number is NaN and a missing text is empty; a tensor of whole numbers or booleans has no missing value, so a row that
lacks one is refused.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tidegate.domain.contract import FeatureContract, InputTensor
from tidegate.domain.datatypes import BYTES, DTYPES, TEXT
from tidegate.domain.errors import InvalidInput


def assembled(contract: FeatureContract, columns: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The model's inputs that are made of features, by name; raises InvalidInput for a value that a tensor cannot hold."""
    return {tensor.name: _tensor(tensor, columns) for tensor in contract.tensors if tensor.features}


def _tensor(tensor: InputTensor, columns: Mapping[str, np.ndarray]) -> np.ndarray:
    matrix = _texts(columns, tensor.features) if tensor.datatype == BYTES else _of_numbers(tensor, columns)
    return matrix[:, 0] if len(tensor.shape) == 1 else matrix


def _of_numbers(tensor: InputTensor, columns: Mapping[str, np.ndarray]) -> np.ndarray:
    dtype = DTYPES[tensor.datatype]
    if dtype.kind == "f":
        return numbers(columns, tensor.features, dtype)
    values = numbers(columns, tensor.features, np.dtype(np.float64))
    low, high = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    wrong = ~((values == np.floor(values)) & (values >= low) & (values <= high))
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        value = values[row, column]
        raise InvalidInput(
            f"input '{tensor.name}': feature '{tensor.features[column]}' of row {row} is "
            f"{'missing' if np.isnan(value) else f'{value:g}'}, required a value of {tensor.datatype}"
        )
    return values.astype(dtype)


def numbers(columns: Mapping[str, np.ndarray], names: tuple[str, ...], dtype: np.dtype) -> np.ndarray:
    """[n, F] of the columns with these names, in this order."""
    matrix = np.empty((len(columns[names[0]]) if names else 0, len(names)), dtype=dtype)
    for i, name in enumerate(names):
        matrix[:, i] = columns[name]
    return matrix


def _texts(columns: Mapping[str, np.ndarray], names: tuple[str, ...]) -> np.ndarray:
    matrix = np.empty((len(columns[names[0]]), len(names)), dtype=TEXT)
    for i, name in enumerate(names):
        matrix[:, i] = ["" if value is None else value for value in columns[name].tolist()]
    return matrix
