"""The service inside a Bento: the release's BentoML service with the slot's light application in front of it.

Importing it needs neither the online store nor a log folder, since BentoML imports a service to build it; both are opened
when the server starts. See `tidegate.adapters.bento.build` for the environment variables.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tidegate.adapters.files.release_keys import environment_keys, require_signed
from tidegate.adapters.onnx.session import open_onnx
from tidegate.apps.slot import OpenReader, assemble, release_service
from tidegate.apps.slot_settings import SlotSettings
from tidegate.domain.errors import InvalidInput
from tidegate.domain.local import BODY_LIMIT
from tidegate.serving.runtime.endpoint import Endpoint
from tidegate.serving.runtime.http_app import AsgiApp, Receive, Scope, Send
from tidegate.serving.runtime.release_loader import LoadedRelease, load_release


def bento_service(release_folder: Path, open_reader: OpenReader | None = None) -> Any:
    """The BentoML service of the release in `release_folder`, ready for `bentoml build` and `bentoml serve`."""
    require_signed(release_folder, environment_keys())
    release = load_release(release_folder, open_onnx)
    service, endpoint = release_service(release)
    service.add_asgi_middleware(_Front, release=release, endpoint=endpoint, open_reader=open_reader)
    return service


class _Front:
    """ASGI middleware: every request is answered here, BentoML's application `app` gets the lifespan; the log lives as long."""

    def __init__(
        self, app: AsgiApp, release: LoadedRelease, endpoint: Endpoint[Any, Any], open_reader: OpenReader | None
    ) -> None:
        slot = assemble(_settings(release, os.environ), release, endpoint, app, open_reader)
        slot.log.start()
        self._app, self._log = slot.app, slot.log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)
        if scope["type"] == "lifespan":
            self._log.close()


def _settings(release: LoadedRelease, environment: Mapping[str, str]) -> SlotSettings:
    missing = [name for name in ("TIDEGATE_ONLINE", "TIDEGATE_LOG_DIR") if not environment.get(name)]
    if missing:
        raise InvalidInput(f"release {release.id}: the environment variable {missing[0]} is not set; a Bento needs it to serve")
    return SlotSettings(
        release_folder=release.folder,
        model=release.manifest.model,
        slot=environment.get("TIDEGATE_SLOT", "blue"),
        replica=int(environment.get("TIDEGATE_REPLICA", "0")),
        port=0,
        online=environment["TIDEGATE_ONLINE"],
        log_dir=Path(environment["TIDEGATE_LOG_DIR"]),
        records=environment.get("TIDEGATE_RECORDS", ""),
        body_limit=int(environment.get("TIDEGATE_BODY_LIMIT", str(BODY_LIMIT))),
    )
