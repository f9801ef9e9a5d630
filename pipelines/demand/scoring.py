"""Running an exported model as it will be served: the ONNX bytes through ONNX Runtime, never the learner's own predictor."""

from __future__ import annotations

import numpy as np

from tidegate.api.training import InvalidInput

from .names import INPUT, OUTPUT, QUANTILES


def score(onnx: bytes, vectors: np.ndarray, what: str = "the model") -> np.ndarray:
    """Quantiles float64 [n, 3] of `vectors` float32 [n, F]; raises InvalidInput when the model is not of that form."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
        values = session.run([OUTPUT], {INPUT: vectors})[0]
    except Exception as error:  # onnxruntime's exceptions share no public base but Exception
        reason = " ".join(str(error).split())[:200]
        raise InvalidInput(
            f"{what}: ONNX Runtime refused it ({reason}); required input '{INPUT}', output '{OUTPUT}'"
        ) from error
    if values.shape != (len(vectors), len(QUANTILES)) or not np.isfinite(values).all():
        raise InvalidInput(f"{what}: output '{OUTPUT}' is {values.shape}, required finite [{len(vectors)}, {len(QUANTILES)}]")
    return np.asarray(values, dtype=np.float64)
