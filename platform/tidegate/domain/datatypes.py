"""Datatypes of tensors by the Open Inference Protocol's names (`tidegate.ports.tensor_model`), as numpy has them.

BYTES tensors are arrays of objects, each a `str`: the models that take them take text.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tidegate.domain.contract import FEATURES

__all__ = ["BYTES", "DATATYPES", "DTYPES", "FEATURES", "TEXT", "dtype_of"]

BYTES = "BYTES"
TEXT = np.dtype(object)

DTYPES: Mapping[str, np.dtype] = {  # of numbers and booleans
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype(np.uint8),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}
DATATYPES: Mapping[np.dtype, str] = {dtype: name for name, dtype in DTYPES.items()} | {TEXT: BYTES}


def dtype_of(datatype: str) -> np.dtype:
    """Raises KeyError for a name that is none of the protocol's."""
    return TEXT if datatype == BYTES else DTYPES[datatype]
