"""What a serving process imports stays light."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("polars", "feast", "mlflow", "kfp", "pandas", "evidently", "matplotlib", "sklearn", "pyarrow", "duckdb", "kubernetes")
MODULES = (
    "tidegate.apps.slot tidegate.apps.slot_settings tidegate.adapters.onnx.session tidegate.adapters.packed.online "
    "tidegate.adapters.redis.record_sink "
    "bentoml _bentoml_impl.server.app onnxruntime "
    "tidegate.serving.runtime.http_app tidegate.serving.runtime.endpoint tidegate.serving.runtime.generic"
)


def test_a_serving_process_imports_no_control_plane_library() -> None:
    code = f"import importlib, sys\nfor m in {MODULES.split()!r}: importlib.import_module(m)\n"
    code += f"print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
