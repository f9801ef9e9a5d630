"""The only place where adapters are made, and so where one is exchanged for another.

Each function makes one adapter from plain values and imports its vendor then, so that a process loads what it uses and nothing
else. tests/unit/test_structure.py holds every other module to it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tidegate.domain.local import LocalConfig
from tidegate.domain.project import Project
from tidegate.files.layout import StateFolder

if TYPE_CHECKING:
    from tidegate.adapters.envoy.gateway_traffic import GatewayTraffic
    from tidegate.adapters.envoy.routes import EnvoyRouter
    from tidegate.adapters.feast.features import FeastFeatureStore
    from tidegate.adapters.files.ledger_file import FileLedger
    from tidegate.adapters.files.release_keys import ReleaseKeys
    from tidegate.adapters.kubernetes.api import KubernetesApi
    from tidegate.adapters.kubernetes.argo_delivery import Supplies
    from tidegate.adapters.kubernetes.argo_rollouts import ArgoRollouts
    from tidegate.adapters.machine.heartbeats import Heartbeats
    from tidegate.adapters.machine.local_processes import LocalProcesses
    from tidegate.adapters.machine.local_target import LocalTarget
    from tidegate.adapters.machine.readiness import ReadinessProbe
    from tidegate.adapters.mlflow.artifacts import MlflowArtifacts
    from tidegate.adapters.redis.records import RedisRecords
    from tidegate.adapters.redis.retraining import RedisRetraining
    from tidegate.data.dataset import Csv
    from tidegate.domain.actor import Actor
    from tidegate.domain.contract import FeatureContract
    from tidegate.domain.project import DatasetConfig, KubernetesSettings
    from tidegate.files.feature_folder import FeatureFolder
    from tidegate.ports.cluster_rollouts import ClusterRollouts
    from tidegate.ports.cron import CronTimes
    from tidegate.ports.dataset_source import DatasetSource
    from tidegate.ports.delivery import Delivery
    from tidegate.ports.drift import DriftMeter
    from tidegate.ports.features import OnlineFeatureReader
    from tidegate.ports.log_sink import LogSink
    from tidegate.ports.model_scorer import ModelScorer
    from tidegate.ports.pipeline_runs import PipelineRunner
    from tidegate.ports.registry import ModelRegistry
    from tidegate.ports.row_files import RowSink, RowSource
    from tidegate.scheduling.standing import ScheduleStanding
    from tidegate.serving.records import InferenceLogFiles

# --- what every target has ------------------------------------------------------------------------------------------


def ledger(project: Project, by: Actor | None = None) -> FileLedger:
    """The ledger of the state folder, its checkpoint where the project file says; `by` is the identity of this process, its
    login where there is no better one."""
    from tidegate.adapters.files.checkpoint_places import checkpoint_place
    from tidegate.adapters.files.ledger_file import FileLedger
    from tidegate.rollout.unrecorded import recorded_rollouts

    state = StateFolder(project.state)
    return FileLedger(
        state.ledger,
        state.keys,
        rollouts=partial(recorded_rollouts, state.rollouts),
        checkpoints=checkpoint_place(project.ledger.checkpoint, project.root, project.state),
        by=by or login(),
    )


def login() -> Actor:
    """Who runs this process."""
    from tidegate.adapters.machine.login import login as found

    return found()


def dataset_source(config: DatasetConfig, paths: Sequence[Path] | None, csv: Csv) -> DatasetSource:
    """Where the rows of a dataset come from: by its configuration, or `paths` in place of that."""
    from tidegate.adapters.files.dataset_files import DatasetFiles

    return DatasetFiles(paths or config.sources, csv)


def release_keys(state: StateFolder) -> ReleaseKeys:
    from tidegate.adapters.files.release_keys import ReleaseKeys

    return ReleaseKeys(state.keys)


def registry_at(uri: str, state: StateFolder) -> ModelRegistry:
    """The registry of an MLflow server."""
    from tidegate.adapters.mlflow.registry import MlflowModelRegistry

    return MlflowModelRegistry(state.mlflow, uri)


def registry(project: Project) -> ModelRegistry:
    """The registry, which has to have each model that there are releases or rollouts of."""
    from tidegate.adapters.mlflow.registry import MlflowModelRegistry
    from tidegate.registry.releases import ReleaseStore

    state = StateFolder(project.state)

    def known(model: str) -> bool:
        return any((state.rollouts / model).glob("*.json")) or bool(ReleaseStore(state.releases).list(model))

    return MlflowModelRegistry(state.mlflow, known=known)


def registry_page(project: Project) -> Any:
    """MLflow's page over the project's own registry, as an ASGI application."""
    from tidegate.adapters.mlflow.page import page_app

    return page_app(StateFolder(project.state).mlflow)


def artifacts(url: str) -> MlflowArtifacts:
    """The store of releases and feature tables on an MLflow server."""
    from tidegate.adapters.mlflow.artifacts import MlflowArtifacts

    return MlflowArtifacts(url)


def feature_store(repository: Path, folder: FeatureFolder, online: str | None = None, service: str = "") -> FeastFeatureStore:
    """The features of a Feast repository in a model's folder; `online` is the target's setting of its online store, `service`
    the model's own feature service."""
    from tidegate.adapters.feast.features import FeastFeatureStore
    from tidegate.files.feature_folder import SQLITE

    return FeastFeatureStore(repository, folder, online or SQLITE, service)


def pipeline_runner(project: Project, endpoint: str | None) -> PipelineRunner:
    """Kubeflow Pipelines at an endpoint, or on this machine when there is none."""
    from tidegate.adapters.kfp.runner import KfpEndpointRunner, LocalKfpRunner

    return KfpEndpointRunner(endpoint) if endpoint else LocalKfpRunner(StateFolder(project.state).pipelines)


def row_source(path: Path, types: Mapping[str, str]) -> RowSource:
    """The rows of a Parquet or CSV file; `types` are the datatypes of some columns."""
    from tidegate.adapters.arrow.row_files import ArrowRows

    return ArrowRows(path, types)


def row_sink(notes: Mapping[str, str]) -> RowSink:
    """Parquet files that have `notes` in their metadata."""
    from tidegate.adapters.arrow.row_files import ArrowParquet

    return ArrowParquet(notes)


def cron_times() -> CronTimes:
    from tidegate.adapters.cron.times import CronsimTimes

    return CronsimTimes()


def schedule_metrics(standings: Sequence[ScheduleStanding]) -> bytes:
    """How schedules stand, as Prometheus reads it."""
    from tidegate.adapters.http.schedule_metrics import exposition

    return exposition(standings)


def drift_meter() -> DriftMeter:
    from tidegate.adapters.evidently.drift import EvidentlyDriftMeter

    return EvidentlyDriftMeter()


def model_scorer() -> ModelScorer:
    from tidegate.adapters.onnx.scorer import OnnxScorer

    return OnnxScorer()


# --- inside a serving process ---------------------------------------------------------------------------------------


def online_reader(location: str, contract: FeatureContract) -> OnlineFeatureReader:
    """The online rows at a path or `redis://HOST:PORT/DATABASE#MODEL`."""
    from tidegate.adapters.packed.online import open_online_reader

    reader: OnlineFeatureReader = open_online_reader(location, contract)
    return reader


def record_sink(url: str, model: str) -> LogSink | None:
    """Where records go in place of files; None without a URL."""
    if not url:
        return None
    from tidegate.adapters.redis.record_sink import RedisSink

    return RedisSink(url, model)


# --- the local target -----------------------------------------------------------------------------------------------


def inference_log(project: Project, model: str) -> InferenceLogFiles:
    from tidegate.serving.records import InferenceLogFiles

    return InferenceLogFiles(StateFolder(project.state).logs, project.model(model).name)


def local_target(project: Project) -> LocalTarget:
    from tidegate.adapters.machine.local_target import LocalTarget

    return LocalTarget(project.state, LocalConfig.of(project))


def gateway(state: StateFolder, config: LocalConfig) -> EnvoyRouter:
    from tidegate.adapters.envoy.routes import EnvoyRouter

    return EnvoyRouter(state.envoy, state.logs, config)


def processes(state: StateFolder) -> LocalProcesses:
    from tidegate.adapters.machine.local_processes import LocalProcesses

    return LocalProcesses(state.pids)


def readiness() -> ReadinessProbe:
    from tidegate.adapters.machine.readiness import ReadinessProbe

    return ReadinessProbe()


def heartbeats(state: StateFolder) -> Heartbeats:
    from tidegate.adapters.machine.heartbeats import Heartbeats

    return Heartbeats(state.beats)


# --- the target kubernetes ------------------------------------------------------------------------------------------


def kubernetes(context: str | None = None) -> KubernetesApi:
    from tidegate.adapters.kubernetes.api import KubernetesApi

    return KubernetesApi.connect(context)


def token_reviews(api: KubernetesApi) -> Callable[[str], Actor]:
    """Who presents a token, by the API server's word."""
    from tidegate.adapters.kubernetes.identity import TokenReviews

    return TokenReviews(api)


def argo_rollouts(api: KubernetesApi, namespace: str) -> ArgoRollouts:
    from tidegate.adapters.kubernetes.argo_rollouts import ArgoRollouts

    return ArgoRollouts(api, namespace)


def argo_delivery(settings: KubernetesSettings, supplies: Supplies) -> Delivery:
    """Rollouts on the cluster that `settings` names; it is connected to when it is first used."""
    from tidegate.adapters.kubernetes.argo_delivery import ArgoDelivery

    return ArgoDelivery(lambda: kubernetes(settings.context or None), settings, supplies, cron_times())


def cluster_records(url: str, model: str) -> RedisRecords:
    from tidegate.adapters.redis.records import RedisRecords

    return RedisRecords(url, model)


def gateway_traffic(service: str, release: str, rollouts: ClusterRollouts, state: StateFolder) -> GatewayTraffic:
    """Counters of the gateway's pods behind the headless Service `service`."""
    from tidegate.adapters.envoy.gateway_traffic import GatewayTraffic

    return GatewayTraffic(service, release, rollouts, state.gateway_counts)


def retraining_queue(url: str, worker: str | None = None) -> RedisRetraining:
    from tidegate.adapters.redis.retraining import RedisRetraining

    return RedisRetraining(url, worker=worker) if worker else RedisRetraining(url)


def cluster_schedules(api: KubernetesApi, namespace: str) -> Callable[[], list[ScheduleStanding]]:
    """How the scheduled work in a namespace stands."""
    from tidegate.adapters.kubernetes.cron_jobs import SchedulesSeen, schedules_on

    return SchedulesSeen(lambda: schedules_on(api, namespace, datetime.now(UTC), cron_times()))
