"""MLflow and Feast, imported without what costs seconds and has no use here.

Call these before anything else imports them; calling them again is free.
"""

from __future__ import annotations

import os
import sys

TELEMETRY_OFF = {
    "BENTOML_DO_NOT_TRACK": "True",
    "DO_NOT_TRACK": "1",
    "FEAST_USAGE": "False",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "GIT_PYTHON_REFRESH": "quiet",
}
MLFLOW_SETTINGS = {
    **TELEMETRY_OFF,
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
}

METRICS_FOLDERS = ("PROMETHEUS_MULTIPROCESS_DIR", "PROMETHEUS_MULTIPROC_DIR")


def settle_mlflow() -> None:
    """Set what is not set in the environment, and leave Feast's request headers out.

    MLflow imports every package that provides headers before its first request; Feast does, for data sources of its own that
    nothing here has, and is imported as a whole for it. Other providers stay.
    """
    for name, value in MLFLOW_SETTINGS.items():
        os.environ.setdefault(name, value)
    if "mlflow.tracking.request_header.registry" in sys.modules:
        return
    from mlflow.utils import plugins

    found = plugins.get_entry_points
    plugins.get_entry_points = lambda group: [each for each in found(group) if not each.value.startswith("feast.")]
    try:
        import mlflow.tracking.request_header.registry  # noqa: F401 (it asks for them when it is imported)
    finally:
        plugins.get_entry_points = found


def import_feast_unchecked() -> None:
    """Feast without run-time checks of its arguments' types, for whom reads no definitions.

    Its classes are compiled anew with these checks whenever they are imported, which is two thirds of the import's time.
    """
    if "feast" in sys.modules:
        return
    import typeguard

    checking = typeguard.typechecked
    typeguard.typechecked = lambda target: target  # type: ignore[assignment]  # Feast gives it no options
    try:
        import_feast()
    finally:
        typeguard.typechecked = checking


def import_feast() -> None:
    """Feast without what it leaves in the environment.

    It tells prometheus_client there to keep metrics in a folder that goes away with this process: whatever this process
    starts, a slot say, would inherit that and fail once the folder is gone.
    """
    before = {name: os.environ.get(name) for name in METRICS_FOLDERS}
    import feast
    import feast.metrics  # noqa: F401 (it is what sets them, whenever it is imported first)

    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
