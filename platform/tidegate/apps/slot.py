"""A slot's process: one release, one port.

    python -m tidegate.apps.slot --release-folder DIR --model NAME --slot blue --replica 0 --port 8810 \\
        --online build/state/features/demand/online.db --log-dir build/state/logs

The arguments are the fields of `tidegate.apps.slot_settings.SlotSettings`. It answers once the release is loaded and verified.
SIGTERM stops it without losing a request: exit code 0. Errors are one line on standard error with the exit code of their kind
(`tidegate.domain.errors`): 6 for a release that is damaged or that no key of --trusted-key or TIDEGATE_TRUSTED_KEYS signed, 7
for a port that is taken or an online store that cannot be opened. It outlives the process that started it.

`serving/middleware.py` of the release, when it defines `wrap(app)`, is given the whole ASGI application and returns the
one to serve: for authentication of one's own, or to inject faults in a rehearsal.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tidegate.adapters.bento.hosting import configure_bentoml, generic_service, service_asgi, service_parts
from tidegate.adapters.files.release_keys import parse_keys, require_signed
from tidegate.adapters.onnx.session import open_onnx
from tidegate.apps import wiring
from tidegate.apps.slot_settings import SlotSettings, parse
from tidegate.domain.contract import FeatureContract
from tidegate.domain.errors import InvalidInput, TidegateError
from tidegate.files.feature_folder import for_model
from tidegate.serving.runtime.dataplane import Predictor
from tidegate.serving.runtime.endpoint import Endpoint
from tidegate.serving.runtime.feature_metrics import FeatureMetrics
from tidegate.serving.runtime.generic import generic_endpoint
from tidegate.serving.runtime.http_app import AsgiApp, Guarded, ServingApp
from tidegate.serving.runtime.http_routes import Routes
from tidegate.serving.runtime.http_server import bind, serve
from tidegate.serving.runtime.inference_log import Identity, InferenceLog, LogLimits
from tidegate.serving.runtime.metrics import ServingMetrics
from tidegate.serving.runtime.release_loader import LoadedRelease, load_release, profile_function, serving_module
from tidegate.serving.runtime.store_guard import StoreGuard

if TYPE_CHECKING:
    from tidegate.ports.features import OnlineFeatureReader

OpenReader = Callable[[str, FeatureContract], "OnlineFeatureReader"]
logger = logging.getLogger("tidegate.serving")


@dataclass(frozen=True)
class SlotApp:
    """What a process serves, before it has a port."""

    app: AsgiApp
    serving: ServingApp
    log: InferenceLog
    predictor: Predictor


def build(settings: SlotSettings, open_reader: OpenReader | None = None) -> SlotApp:
    """Load and verify the release and put its application together; starts nothing."""
    configure_bentoml(settings.log_dir / ".bentoml")
    require_signed(settings.release_folder, parse_keys(settings.trusted_keys))
    release = load_release(settings.release_folder, open_onnx)  # whose manifest has the digest that was signed
    if release.manifest.model != settings.model:
        raise InvalidInput(f"release {release.id} is of model '{release.manifest.model}', required '{settings.model}'")
    service, endpoint = release_service(release)
    return assemble(settings, release, endpoint, service_asgi(service), open_reader)


def open_predictor(
    release: LoadedRelease, online: str, open_reader: OpenReader | None = None
) -> tuple[Predictor, OnlineFeatureReader | None]:
    """A release over the online store at an address, and its reader of the store; none where no features are stored."""
    if not release.contract.stored:
        return Predictor(release, None), None
    reader = (open_reader or wiring.online_reader)(for_model(online, release.manifest.model), release.contract)
    return Predictor(release, StoreGuard(reader, remote="://" in online)), reader


def assemble(
    settings: SlotSettings,
    release: LoadedRelease,
    endpoint: Endpoint[Any, Any],
    lifespan: AsgiApp,
    open_reader: OpenReader | None = None,
) -> SlotApp:
    """The application of a release over its online store. `lifespan` is BentoML's application: it is told of start and stop."""
    predictor, reader = open_predictor(release, settings.online, open_reader)
    endpoint.bind(predictor)
    manifest = release.manifest
    identity = Identity(manifest.model, manifest.digest, settings.slot, settings.replica)
    limits = LogLimits(sample_rate=settings.sample_rate)
    sink = wiring.record_sink(settings.records, manifest.model)
    log = InferenceLog(settings.log_dir, identity, limits, sink, profile_function(release))
    info = {"model": manifest.model, "version": manifest.version, "release": manifest.id}
    metrics = ServingMetrics(log, info | {"slot": settings.slot, "replica": str(settings.replica)})
    if reader:
        metrics.register(FeatureMetrics(reader.watermark, release.contract.ttl, reader.expired))
    routes = Routes(predictor, endpoint, metrics)
    serving = ServingApp(routes, metrics, log, lifespan, settings.body_limit)
    return SlotApp(_wrapped(release, serving), serving, log, predictor)


def run(settings: SlotSettings, open_reader: OpenReader | None = None) -> None:
    """Serve until SIGTERM, then finish what is in flight and flush the log."""
    listener = bind(settings.host, settings.port)
    slot = build(settings, open_reader)
    slot.log.start()

    def started() -> None:
        host, port = listener.getsockname()[:2]
        logger.info(
            "%s: slot %s replica %d answers on %s:%d", slot.predictor.release.id, settings.slot, settings.replica, host, port
        )

    try:
        serve(slot.app, listener, slot.serving.drain, started, settings.drain_seconds)
    finally:
        counts = slot.log.close()
        slot.predictor.close()
        logger.info("stopped; requests by status: %s", counts.to_json()["requests"])


def main(argv: Sequence[str] | None = None, open_reader: OpenReader | None = None) -> int:
    settings = parse(argv)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.raiseExceptions = False  # standard error may be a pipe that nobody reads any more
    for noisy in ("bentoml", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    try:
        run(settings, open_reader)
    except TidegateError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    return 0


def release_service(release: LoadedRelease) -> tuple[Any, Endpoint[Any, Any]]:
    """The release's BentoML service and its endpoint, or generic ones when it has no `service.py`."""
    module = serving_module(release.folder, release.manifest, "service")
    if module is not None:
        return service_parts(module, f"release {release.id}")
    endpoint = generic_endpoint(release)
    return generic_service(release.manifest.model, endpoint), endpoint


def _wrapped(release: LoadedRelease, app: ServingApp) -> AsgiApp:
    module = serving_module(release.folder, release.manifest, "middleware")
    if module is None:
        return app
    wrap = getattr(module, "wrap", None)
    if not callable(wrap):
        raise InvalidInput(f"release {release.id}: serving/middleware.py defines no function wrap(app)")
    logger.warning("%s: serving/middleware.py wraps the application", release.id)
    return Guarded(wrap(app), app)


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    os._exit(code)  # vendors' atexit hooks and threads have nothing left to do, and may hang
