"""Running the exported model as it will be served."""

from __future__ import annotations

import numpy as np


def outputs(onnx: bytes, windows: np.ndarray, batch: int = 512) -> dict[str, np.ndarray]:
    """`score` float32 [n, 1] and `alarm` bool [n] of windows [n, W]."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
    names = ["score", "alarm"]
    parts = [session.run(names, {"readings": windows[at : at + batch]}) for at in range(0, len(windows), batch)]
    return {name: np.concatenate([part[i] for part in parts]) for i, name in enumerate(names)}
