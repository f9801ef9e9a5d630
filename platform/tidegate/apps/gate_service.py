"""The gate service of a cluster, put together: `tidegate gate serve`.

It runs the project's own gates on what the cluster's pods recorded (Redis), on what its gateway counted (Envoy) and on releases
and feature tables that were pushed to the MLflow server's artifact store. It keeps the ledger, and a copy of what it fetched,
in the state folder. One process: the ledger has one writer, which takes what trainers and the monitor report to it by Redis.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from tidegate.apps import wiring
from tidegate.domain.actor import Actor
from tidegate.domain.contract import FeatureContract
from tidegate.domain.errors import IntegrityError, TidegateError
from tidegate.domain.project import Project
from tidegate.domain.release import ReleaseManifest
from tidegate.files.feature_folder import FeatureFolder, feature_folder
from tidegate.files.layout import StateFolder
from tidegate.files.release_folder import read_manifest
from tidegate.ports.cluster_rollouts import ClusterRollouts
from tidegate.ports.gates import Evaluate, Instruments
from tidegate.ports.ledger import Ledger

if TYPE_CHECKING:
    import polars as pl
    from starlette.applications import Starlette

    from tidegate.adapters.feast.features import FeastFeatureStore
    from tidegate.adapters.mlflow.artifacts import MlflowArtifacts
    from tidegate.apps.cluster_aliases import ClusterAliases
    from tidegate.ports.cluster_rollouts import UnderWay
    from tidegate.rollout.cluster.retraining import Retrainings
    from tidegate.scheduling.standing import ScheduleStanding

logger = logging.getLogger("tidegate.gates")
STALE_SECONDS = 15.0
QUEUE, LEDGER = "", "the ledger"  # their problems are kept beside those of models


@dataclass(frozen=True)
class GateServerSettings:
    """Addresses of what the gate service reads. `gateway` is the headless Service over the gateway's pods, with the port of
    their metrics; `release` the name under which the platform's chart is installed. A gate of a model's own runs where a key
    signed its release that the service was given, with `keys_of_models` one that the model's chart gave to the pods, too.
    `registry` is the MLflow server whose aliases follow what is live; without one, nobody's do. `schedules` is the namespace
    whose scheduled work is shown to Prometheus, empty for none."""

    namespace: str
    records: str
    store: str
    gateway: str
    release: str = "tidegate"
    host: str = "127.0.0.1"
    port: int = 8080
    watch_seconds: float = 1.0
    keys_of_models: bool = False
    registry: str = ""
    schedules: str = ""


def serve_gates(project: Project, settings: GateServerSettings) -> None:
    """Serve until SIGTERM."""
    from tidegate.adapters.http.server import serve
    from tidegate.adapters.kubernetes.identity import reviewed
    from tidegate.rollout.cluster.retraining import Retrainings

    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True)
    logging.getLogger("tidegate").setLevel(logging.INFO)
    logger.info("answering for %s in %s on %s:%d", ", ".join(project.models), settings.namespace, settings.host, settings.port)
    api = wiring.kubernetes()
    rollouts = wiring.argo_rollouts(api, settings.namespace)
    queue = wiring.retraining_queue(settings.records)
    retrainings = Retrainings(wiring.ledger(project, reviewed(api, wiring.login())), queue, queue)
    releases = release_source(project, settings.store)
    aliases = aliases_of(project, settings.registry, rollouts, retrainings.ledger, lambda digest: releases(digest)[0])
    watching = Watching(project, rollouts, retrainings, settings.watch_seconds, aliases)
    schedules = wiring.cluster_schedules(api, settings.schedules) if settings.schedules else None
    app = build_app(project, settings, rollouts, watching, wiring.token_reviews(api), releases, schedules)
    watching.start()
    try:
        serve(app, settings.host, settings.port)
    finally:
        watching.stop()


def build_app(
    project: Project,
    settings: GateServerSettings,
    rollouts: ClusterRollouts,
    watching: Watching,
    identify: Callable[[str], Actor],
    releases: Callable[[str], tuple[ReleaseManifest, Path]],
    schedules: Callable[[], list[ScheduleStanding]] | None = None,
) -> Starlette:
    from tidegate.adapters.http.gates import gate_app
    from tidegate.apps.rollouts import rollout_config
    from tidegate.gates.monitor_file import monitor_of
    from tidegate.rollout.cluster.gate_service import GateService
    from tidegate.rollout.evaluation import ThreadedEvaluations

    store = wiring.artifacts(settings.store)

    @lru_cache(maxsize=64)
    def evaluations(model: str) -> ThreadedEvaluations:
        return ThreadedEvaluations(cluster_gates(project, model, settings, rollouts, store))

    service = GateService(
        rollouts,
        releases,
        lambda manifest, folder: rollout_config(monitor_of(folder, manifest)),
        evaluations,
        watching.retrainings.ledger,
        wiring.gateway_traffic(settings.gateway, settings.release, rollouts, StateFolder(project.state)).mirrored,
        ask_retraining=watching.retrainings.ask,
    )
    return gate_app(service.answer, watching.problem, identify, schedules)


def release_source(project: Project, store: str) -> Callable[[str], tuple[ReleaseManifest, Path]]:
    """Manifest and folder of a release by digest, fetched from the store where it is not here."""
    artifacts, folder = wiring.artifacts(store), StateFolder(project.state).releases

    @lru_cache(maxsize=64)
    def release(digest: str) -> tuple[ReleaseManifest, Path]:
        folder.mkdir(parents=True, exist_ok=True)
        found = artifacts.fetch_release(digest, folder)
        return read_manifest(found), found

    return release


def aliases_of(
    project: Project,
    registry: str,
    rollouts: ClusterRollouts,
    ledger: Ledger,
    release: Callable[[str], ReleaseManifest],
) -> ClusterAliases | None:
    """Who makes the aliases of the MLflow server `registry` follow what is live; None where there is no such server."""
    from tidegate.apps.cluster_aliases import ClusterAliases
    from tidegate.registry.pending import PendingUpdates

    state = StateFolder(project.state)
    if not registry:
        return None
    pending = PendingUpdates(state.cluster / "registry")
    return ClusterAliases(wiring.registry_at(registry, state), ledger, release, pending, rollouts.show_registry)


def cluster_gates(
    project: Project, model: str, settings: GateServerSettings, rollouts: ClusterRollouts, store: MlflowArtifacts
) -> Evaluate:
    """The gates of the local target, over the cluster's records, counters and feature tables."""
    from tidegate.apps.gates import NoFeatures, admission, gates_over, instruments_over

    def instruments() -> Instruments:
        folder = feature_folder(project.state, model)
        own = project.model(model).features
        features = wiring.feature_store(own.repo, folder, service=own.service) if own else None
        return instruments_over(
            wiring.cluster_records(settings.records, model),
            FetchedFeatures(features, store, folder) if features else NoFeatures(),
            wiring.gateway_traffic(settings.gateway, settings.release, rollouts, StateFolder(project.state)),
        )

    keys = keys_of_model(model, rollouts)
    admit = admission(project, keys) if settings.keys_of_models else explained(admission(project), keys)
    return gates_over(instruments, admit, StateFolder(project.state).counted(model))


def explained(admit: Callable[[Path], None], keys: Callable[[str], Sequence[str]]) -> Callable[[Path], None]:
    """`admit`, whose refusal says what lets code of a release run; `keys` are those that its pods were given."""

    def asked(release: Path) -> None:
        try:
            admit(release)
        except IntegrityError as error:
            named = " ".join(keys(release.name)) or "the line of keys/release.pub where it was built"
            raise IntegrityError(
                f"{error}. It brings code, which runs beside the ledger: if you trust whoever signs there, put the key into "
                f"gates.trustedKeys of the platform's chart ({named})"
            ) from error

    return asked


def keys_of_model(model: str, rollouts: ClusterRollouts) -> Callable[[str], tuple[str, ...]]:
    """The keys that the pods of a release trust, as long as it is the one that is rolled out."""

    def keys(digest: str) -> tuple[str, ...]:
        now = rollouts.under_way(model)
        return now.trusted_keys if now.candidate == digest else ()

    return keys


@dataclass
class FetchedFeatures:
    """`HistoricalFeatures` over the feature tables that the store calls current."""

    features: FeastFeatureStore
    store: MlflowArtifacts
    folder: FeatureFolder
    _have: str = ""

    def historical(self, contract: FeatureContract, entity_rows: pl.DataFrame) -> pl.DataFrame:
        current = self.store.current_tables(self.folder.model)
        if current != self._have:
            self.store.fetch_tables(current, self.folder.tables)
            self.features.apply()
            self._have = current
        return self.features.historical(contract, entity_rows)


def damage_of(ledger: Ledger) -> str:
    """Why the service is not ready on account of its ledger; empty where it is."""
    try:
        damage = ledger.check().problem
    except TidegateError as error:
        damage = str(error)
    return f"the ledger does not verify: {damage}" if damage else ""


@dataclass
class Watching:
    """A thread that looks at the rollouts of all models of the project, and at the queue of retraining, again and again, and
    one that has the registry follow, which may take long to answer."""

    project: Project
    rollouts: ClusterRollouts
    retrainings: Retrainings
    every_seconds: float
    aliases: ClusterAliases | None = None
    _latest: dict[str, UnderWay] = field(default_factory=dict)
    _stop: threading.Event = field(default_factory=threading.Event)
    _looked: dict[str, float] = field(default_factory=dict)
    _problems: dict[str, str] = field(default_factory=dict)

    def start(self) -> None:
        threading.Thread(target=self._run, name="watch", daemon=True).start()
        if self.aliases is not None:
            threading.Thread(target=self._follow, args=(self.aliases,), name="registry", daemon=True).start()

    def stop(self) -> None:
        self._stop.set()

    def problem(self) -> str:
        """Why the service cannot answer; empty when it looked at the cluster lately, or the cluster has none of its models."""
        late = [m for m in self.project.models if time.monotonic() - self._looked.get(m, -STALE_SECONDS) >= STALE_SECONDS]
        said = [self._problems.get(model, f"model {model} was not looked at yet") for model in late]
        return "; ".join(filter(None, [self._problems.get(LEDGER), *said]))

    def _run(self) -> None:
        from tidegate.domain.errors import NotFound
        from tidegate.rollout.cluster.watch import ClusterWatch

        ledger = self.retrainings.ledger
        watch = ClusterWatch(self.rollouts, ledger, StateFolder(self.project.state).cluster)
        while not self._stop.wait(self.every_seconds):
            self._say(LEDGER, damage_of(ledger))
            for model in self.project.models:
                try:
                    self._latest[model] = watch.look(model)
                    self._seen(model, "")
                except NotFound as error:
                    self._seen(model, str(error))  # it was looked, and there is none
                except TidegateError as error:
                    self._say(model, str(error))
                except Exception:
                    logger.exception("watching model %s: a defect", model)
                    self._problems[model] = f"watching model {model} failed, see the log"
            try:
                self.retrainings.look()
                self._say(QUEUE, "")
            except TidegateError as error:
                self._say(QUEUE, str(error))  # verdicts are answered all the same
            except Exception:
                logger.exception("handing over requests for retraining: a defect")

    def _follow(self, aliases: ClusterAliases) -> None:
        while not self._stop.wait(self.every_seconds):
            for now in list(self._latest.values()):
                try:
                    aliases.follow(now)
                except Exception:
                    logger.exception("the registry's aliases of %s: a defect", now.model)

    def _seen(self, model: str, said: str) -> None:
        self._say(model, said)
        self._looked[model] = time.monotonic()

    def _say(self, model: str, problem: str) -> None:
        if problem and self._problems.get(model) != problem:
            logger.warning("%s", problem)
        self._problems[model] = problem
