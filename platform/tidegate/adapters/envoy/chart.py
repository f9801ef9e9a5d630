"""The chart's gateway, rendered from what the local one is made of: `python -m tidegate.adapters.envoy.chart FOLDER`.

Writes `manager.json` (what is done with a request before its routes) and `routes.json` (the routes of one model, and what
ends the table). The chart puts in names and time-outs for `@MODEL@`, `@RELEASE@` and `@TIMEOUT@`. On a cluster a model has no
slots at the gateway: what is live is one cluster, counted under `<model>/<kind>`, and what is mirrored goes to whoever the
shadow Service selects.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tidegate.adapters.envoy.listener import Json, connection_manager
from tidegate.adapters.envoy.table import Backend, configuration, direct, model_routes, protocol_routes
from tidegate.domain.local import LocalConfig

MODEL, RELEASE, TIMEOUT = "@MODEL@", "@RELEASE@", "@TIMEOUT@"
PATIENCE_SECONDS = 615.0  # longer than any time-out of a model that the chart takes


def files() -> dict[str, Json]:
    backend = Backend(MODEL, f"{RELEASE}-{MODEL}-active", MODEL, f"{TIMEOUT}s", f"{RELEASE}-{MODEL}-shadow")
    last = [direct("nothing", {"prefix": "/"}, 404, "no such model at this gateway")]
    return {
        "manager.json": connection_manager(PATIENCE_SECONDS, LocalConfig.max_request_bytes),
        "routes.json": {
            "model": [*model_routes(backend, MODEL, f"/models/{MODEL}"), *protocol_routes(backend, f"{MODEL}/v2")],
            "table": configuration(last),
        },
    }


def texts() -> dict[str, str]:
    return {name: json.dumps(content, indent=2) + "\n" for name, content in files().items()}


def write(folder: Path) -> None:
    for name, text in texts().items():
        (folder / name).write_text(text)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
