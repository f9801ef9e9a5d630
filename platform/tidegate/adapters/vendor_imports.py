"""MLflow and Feast, imported without what costs seconds and has no use here.

Call these before anything else imports them; calling them again is free.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial, wraps
from typing import Any

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


def import_feast() -> None:
    """Feast with the checks of its classes' arguments made when a class is first used, and without what it leaves in the
    environment.

    It tells prometheus_client there to keep metrics in a folder that goes away with this process: whatever this process
    starts, a slot say, would inherit that and fail once the folder is gone.
    """
    if "feast.metrics" in sys.modules:
        return
    import typeguard

    before = {name: os.environ.get(name) for name in METRICS_FOLDERS}
    checking = typeguard.typechecked
    typeguard.typechecked = partial(_checked_when_used, checking)  # type: ignore[assignment]  # Feast gives it no options
    try:
        import feast
        import feast.metrics  # noqa: F401 (it is what sets them, whenever it is imported first)
    finally:
        typeguard.typechecked = checking
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)


def _checked_when_used(checking: Callable[[Any], Any], target: type) -> type:
    """The class, whose constructor checks the types of its arguments as `checking`, a decorator, would have it.

    That compiles a class's whole module anew for each of its methods, which is two thirds of the time that importing Feast
    takes. Definitions call constructors, and few of them.
    """
    plain = vars(target).get("__init__")
    if plain is None:
        return target

    @wraps(plain)
    def first(*arguments: Any, **named: Any) -> None:
        target.__init__ = checked = checking(plain)  # type: ignore[misc]
        checked(*arguments, **named)

    target.__init__ = first  # type: ignore[misc]
    return target
