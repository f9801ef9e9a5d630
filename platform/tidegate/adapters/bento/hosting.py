"""BentoML as it runs inside a slot's process: the release's own service, or one made from the generic endpoint.

BentoML is configured before it is imported: no usage statistics, no tracing (its spans are kept and grow), no metrics of
its own (they would switch prometheus-client to files), and its home below the folder we are given, never in the user's.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import ModuleType
from typing import Any

from tidegate.domain.errors import InvalidInput
from tidegate.serving.runtime.endpoint import Endpoint

OPTIONS = (
    "services.metrics.enabled=false services.logging.access.enabled=false services.monitoring.enabled=false "
    "api_server.metrics.enabled=false api_server.logging.access.enabled=false"
)


def configure_bentoml(home: Path) -> None:
    """Settle BentoML's environment; to be called before anything imports it."""
    os.environ["BENTOML_HOME"] = str(home)
    os.environ["BENTOML_DO_NOT_TRACK"] = "true"
    os.environ["OTEL_SDK_DISABLED"] = "true"


def service_parts(module: ModuleType, what: str) -> tuple[Any, Endpoint[Any, Any]]:
    """The BentoML service and the endpoint that a `service.py` defines; raises InvalidInput unless it is one of each."""
    from bentoml import Service

    services = [value for value in vars(module).values() if isinstance(value, Service)]
    endpoints = [value for value in vars(module).values() if isinstance(value, Endpoint)]
    if len(services) != 1 or len(endpoints) != 1:
        raise InvalidInput(
            f"{what}: serving/service.py defines {len(services)} BentoML services and {len(endpoints)} endpoints, "
            "required one of each at module level; see serving/demand/service.py"
        )
    return services[0], endpoints[0]


def generic_service(name: str, endpoint: Endpoint[Any, Any]) -> Any:
    """A BentoML service that serves `endpoint`, for models without a `service.py`."""
    import bentoml

    async def predict(self: object, request: Any, /) -> Any:
        return endpoint.answer(request)

    predict.__annotations__ = {"request": endpoint.request, "return": endpoint.response}
    api = bentoml.api(route=endpoint.path)(predict)
    return bentoml.service(name=name)(type("GenericService", (), {"predict": api}))


def service_asgi(service: Any) -> Any:
    """BentoML's ASGI application of a service: its typed endpoints, OpenAPI (`/docs.json`) and index page."""
    service.config.setdefault("metrics", {"enabled": False})
    service.config.setdefault("logging", {"access": {"enabled": False}})
    return service.to_asgi(is_main=True)
