"""A reference as the model's inputs."""

from __future__ import annotations

import numpy as np
import polars as pl

from tidegate.domain.assembly import assembled
from tidegate.domain.contract import FeatureContract, InputTensor
from tidegate.domain.datatypes import BYTES, TEXT, dtype_of
from tidegate.domain.errors import InvalidInput
from tidegate.domain.keys import entities_of
from tidegate.files.release_folder import REFERENCE


def reference_tensors(
    reference: pl.DataFrame, contract: FeatureContract, what: str, of: str = REFERENCE
) -> dict[str, np.ndarray]:
    """The model's inputs as far as a reference (or other rows, said as `of`) has them: those made of features, and others that
    are columns of their names."""
    columns = {name: column_of(reference[name]) for name in contract.vector if name in reference.columns}
    if len(columns) < len(contract.vector):
        missing = next(name for name in contract.vector if name not in columns)
        raise InvalidInput(f"{what}: {of} has no column '{missing}', required: every feature of the contract's vector")
    made = assembled(contract, columns) if len(reference) else {}
    asked = {
        tensor.name: tensor_of(reference[tensor.name], tensor, what, of)
        for tensor in contract.asked
        if tensor.name in reference
    }
    return made | asked


def entities_in(reference: pl.DataFrame, contract: FeatureContract) -> list[str] | None:
    """The entity of each row; None for a reference that keeps no keys."""
    key = contract.key
    if not key or any(part.name not in reference.columns for part in key):
        return None
    columns = {part.name: reference[part.name] for part in key}
    texts = {part.name for part in key if part.datatype == BYTES}
    return entities_of(
        {name: (series.cast(pl.String) if name in texts else series).to_list() for name, series in columns.items()}, key
    )


def column_of(series: pl.Series) -> np.ndarray:
    """A feature's values as tensors are assembled of them: float64, NaN where there is none, or texts and None."""
    if series.dtype in (pl.String, pl.Categorical):
        return np.array(series.cast(pl.String).to_list(), dtype=object)
    return series.cast(pl.Float64).fill_null(float("nan")).to_numpy()


def tensor_of(series: pl.Series, tensor: InputTensor, what: str, of: str = REFERENCE) -> np.ndarray:
    wanted = f"{tensor.datatype} {list(tensor.shape)}"
    try:
        dtype = dtype_of(tensor.datatype)
        whole = isinstance(series.dtype, pl.Array) and dtype != TEXT and not series.has_nulls()
        values = series.to_numpy().astype(dtype) if whole else np.array(series.to_list(), dtype=dtype)
        array = values[:, None] if values.ndim == 1 and tensor.shape[1:] == (1,) else values
        shape = (len(series), *(a if a != -1 else b for a, b in zip(tensor.shape[1:], array.shape[1:], strict=True)))
        array = array.reshape(shape)
    except (ValueError, TypeError, OverflowError) as error:
        raise InvalidInput(f"{what}: column '{tensor.name}' of {of} is {series.dtype}, required {wanted} ({error})") from error
    if dtype == TEXT and not all(isinstance(value, str) for value in array.ravel().tolist()):
        raise InvalidInput(f"{what}: column '{tensor.name}' of {of} has missing values, required texts ({wanted})")
    return array
