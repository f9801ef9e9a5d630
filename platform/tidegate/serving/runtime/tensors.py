"""Datatypes of tensors by the Open Inference Protocol's names (`tidegate.ports.tensor_model`), as numpy has them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

FEATURES = "features"  # the input every release's model has, float32 [n, F]

DTYPES: Mapping[str, np.dtype] = {
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
DATATYPES: Mapping[np.dtype, str] = {dtype: name for name, dtype in DTYPES.items()}
