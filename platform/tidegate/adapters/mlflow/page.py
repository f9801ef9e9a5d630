"""MLflow's own page: where it is, and the application that serves it over a tracking store of this machine.

The application is MLflow's server as it is, with its interface for writing: it has no mode for reading alone. It runs in the
process that serves it and starts no other.
"""

from __future__ import annotations

import os
import urllib.parse
from pathlib import Path
from typing import Any

from tidegate.adapters.mlflow.database import settle_waiting
from tidegate.adapters.vendor_imports import settle_mlflow
from tidegate.domain.errors import InvalidInput, NotFound


def remote_page() -> str | None:
    """The address of the server that is the registry; None where it is a file of this machine. Raises InvalidInput for a
    store that has no page of its own."""
    address = os.environ.get("MLFLOW_TRACKING_URI")
    if not address:
        return None
    if not address.startswith(("http://", "https://")):
        scheme = address.split(":", 1)[0]
        raise InvalidInput(f"MLFLOW_TRACKING_URI names a store ({scheme}) and no server; 'mlflow server' beside it has a page")
    return address.rstrip("/")


def link(page: str, model: str | None = None, version: str | None = None) -> str:
    """The address of a model, or of a version, on the page."""
    if model is None:
        return f"{page}/#/models"
    quoted = urllib.parse.quote(model, safe="")
    return f"{page}/#/models/{quoted}/versions/{version}" if version else f"{page}/#/models/{quoted}"


def page_app(folder: Path) -> Any:
    """The ASGI application over the tracking store in `folder`; raises NotFound where there is none yet."""
    folder = folder.resolve()
    if not (folder / "mlflow.db").is_file():
        raise NotFound(f"there is no registry in {folder} yet; 'tidegate train' registers a first version")
    settle_mlflow()
    settle_waiting()
    from mlflow.server import constants

    os.environ[constants.BACKEND_STORE_URI_ENV_VAR] = f"sqlite:///{folder}/mlflow.db"
    os.environ[constants.ARTIFACT_ROOT_ENV_VAR] = (folder / "artifacts").as_uri()
    from mlflow.server.fastapi_app import app

    return app
