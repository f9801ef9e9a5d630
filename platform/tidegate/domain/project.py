"""A project: its models, the definitions that make each, and where they run.

These dataclasses are the one definition of the project file: `tidegate.adapters.files.project_file` reads `tidegate.yaml` by
walking their fields, and generates the JSON schema for editors from the same. All paths are absolute.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from tidegate.domain.access import Access
from tidegate.domain.errors import InvalidInput, NotFound
from tidegate.domain.fields import key
from tidegate.domain.schedule import Schedule

API_VERSION = "tidegate/v1"
NAMESPACE = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
VERIFIER_KEY = r"^[^\s+]+\+[0-9a-f]{8}\+[A-Za-z0-9+/]{44}$"
MEGABYTE = 1024 * 1024
NAME_PATTERN = r"^[a-z][a-z0-9_-]{0,39}$"


class Approval(StrEnum):
    NONE = "none"
    REQUIRED = "required"


@dataclass(frozen=True, kw_only=True)
class DatasetConfig:
    """Rows of a kind: what they are, and where they come from."""

    name: str
    definition: Path = key("definition", "Python file whose `DATASET`, a Dataset, says what the rows are.", exists="file")
    sources: tuple[Path, ...] = key(
        "sources", "The raw data, oldest first: files, or folders whose files are taken by name.", exists="file or folder"
    )


@dataclass(frozen=True)
class FeaturesConfig:
    """Where a model's features come from."""

    repo: Path = key("repo", "The Feast repository.", exists="folder")
    service: str = key("service", "The Feast feature service that the model reads.", pattern=NAME_PATTERN)
    tables: Path | None = key(
        "tables",
        "Python file whose `build(data, until)` makes the feature tables; by default <repo>/<service>_tables.py.",
        default=None,
        exists="file",
    )

    @property
    def tables_definition(self) -> Path:
        return self.tables or self.repo / f"{self.service}_tables.py"


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """One model and the definitions that make it. What it has none of, it does without."""

    name: str
    description: str = key("description", "What the model predicts, in one sentence.", default="")
    datasets: tuple[str, ...] = key(
        "datasets", "The datasets that its feature tables are made of.", default=(), pattern=NAME_PATTERN
    )
    ingest: Path | None = key(
        "ingest", "Earlier form of a dataset of the model's own name: its definition.", default=None, exists="file"
    )
    sources: tuple[Path, ...] = key(
        "sources", "Earlier form of a dataset of the model's own name: its raw data.", default=(), exists="file or folder"
    )
    features: FeaturesConfig | None = key(
        "features",
        "Where the model's features come from; none for a model that gets all its inputs in the request.",
        default=None,
    )
    pipeline: Path | None = key(
        "pipeline",
        "Python file with the KFP pipeline that trains the model; none for one trained elsewhere.",
        default=None,
        exists="file",
    )
    serving: Path | None = key(
        "serving",
        "Folder of the model's BentoML service; none for one made from the model's contract.",
        default=None,
        exists="folder",
    )
    monitor: Path = key("monitor", "YAML file with the model's gates, SLOs and drift monitor.", exists="file")
    approval: Approval = key("approval", "Whether a person must approve each promotion.", default=Approval.NONE)
    max_body_megabytes: int = key(
        "maxBodyMegabytes", "The largest body of a request, at the gateway and in a slot.", default=1, minimum=1, maximum=64
    )

    @property
    def body_limit(self) -> int:
        """In bytes."""
        return self.max_body_megabytes * MEGABYTE

    def its_features(self) -> FeaturesConfig:
        """Raises InvalidInput for a model without features."""
        if self.features is None:
            raise InvalidInput(f"model '{self.name}' has no features; give it 'features' in the project file to use them")
        return self.features

    def its_serving(self) -> Path:
        """Raises InvalidInput for a model whose service is made from its contract."""
        if self.serving is None:
            raise InvalidInput(f"model '{self.name}' has no serving folder; name one under 'serving' in the project file")
        return self.serving

    def its_pipeline(self) -> Path:
        """Raises InvalidInput for a model that is trained elsewhere."""
        if self.pipeline is None:
            raise InvalidInput(
                f"model '{self.name}' has no pipeline; give it 'pipeline' in the project file, or register what was trained "
                "elsewhere with 'tidegate registry register'"
            )
        return self.pipeline


@dataclass(frozen=True)
class LocalSettings:
    """This machine: slots are processes, Envoy routes."""

    gateway_port: int = key("gatewayPort", "Envoy: what clients call.", default=8800, minimum=1, maximum=65535)
    admin_port: int = key(
        "adminPort",
        "What may be read of the gateway, loopback only: GET /ready, /stats/prometheus.",
        default=8801,
        minimum=1,
        maximum=65535,
    )
    slot_ports: int = key("slotPorts", "The first of the ports that slots use.", default=8810, minimum=1, maximum=65435)
    default_model: str = key(
        "defaultModel",
        "The model that answers at `/`; empty: the project's only one, and none where there are several.",
        default="",
    )
    replicas: int = key("replicas", "Processes of each slot.", default=2, minimum=1, maximum=16)
    online_store: str = key(
        "onlineStore",
        "`sqlite`, or the URL of a Redis server: redis://HOST:PORT/DB, rediss:// with TLS.",
        default="sqlite",
        pattern=r"^(sqlite|rediss?://[^\s/?#]+(/\d+)?(\?[^\s#]+)?)$",
    )


@dataclass(frozen=True)
class KubernetesSettings:
    """A cluster: Argo Rollouts moves the traffic, the gate service judges."""

    context: str = key("context", "Context of the kubeconfig; empty for its current one.", default="", pattern=r"^\S*$")
    namespace: str = key("namespace", "Where the models are installed.", default="models", pattern=NAMESPACE)
    platform: str = key(
        "platform", "Where the platform's chart is installed, by which pods find it.", default="tidegate", pattern=NAMESPACE
    )
    chart: Path = key("chart", "The chart of a model.", default=Path("charts/model"))
    values: Path = key("values", "Folder with the values of each model's chart, <model>.yaml.", default=Path("charts/values"))
    store: str = key(
        "store",
        "The MLflow server whose artifact store takes releases and feature tables, as this machine reaches it.",
        default="http://127.0.0.1:5000",
        pattern=r"^https?://\S+$",
    )


TARGETS = ("local", "kubernetes")  # the keys of `targets`, the default one first


@dataclass(frozen=True)
class LedgerConfig:
    """How the ledger is watched."""

    checkpoint: str = key(
        "checkpoint",
        "A file on another disk or share, or a URL that answers GET and takes PUT, for the ledger's signed checkpoints; "
        "TIDEGATE_LEDGER_CHECKPOINT overrides it.",
        default="",
    )


@dataclass(frozen=True)
class Targets:
    """Where the project runs."""

    kubernetes: KubernetesSettings = key("kubernetes", "A cluster that Argo Rollouts works on.", default=KubernetesSettings())
    local: LocalSettings = key("local", "This machine: slots are processes, Envoy routes.", default=LocalSettings())


@dataclass(frozen=True)
class Retention:
    """What is kept of what grows. What is live or was, what a rollout under way looks at and what the ledger names stays."""

    inference_log_days: int = key("inferenceLogDays", "Days that records of requests are kept.", default=90, minimum=1)
    inference_log_megabytes: int = key(
        "inferenceLogMegabytes", "Size that records of requests may take together.", default=20480, minimum=64
    )
    log_megabytes: int = key("logMegabytes", "Size at which access log and logs are rotated.", default=256, minimum=1)
    log_files: int = key("logFiles", "How many rotated files of each log are kept.", default=4, minimum=1, maximum=100)
    releases: int = key("releases", "How many releases are kept that nothing refers to.", default=20, minimum=1)
    outputs: int = key("outputs", "How many fetched training outputs of a model, and runs, are kept.", default=20, minimum=1)
    versions: int = key(
        "versions",
        "How many of a model's latest versions keep their artifacts, beside those that passed or have an alias or a release.",
        default=50,
        minimum=1,
    )
    exports: int = key("exports", "How many data sets that were ingested beside the project's are kept.", default=10, minimum=1)


@dataclass(frozen=True, kw_only=True)
class Project:
    """The project file, resolved. `root` is the folder of `file`; `state` holds everything that the platform generates."""

    file: Path
    root: Path
    api_version: str = key("apiVersion", "Version of this format.", const=API_VERSION)
    name: str = key("project", "The project's name.", pattern=NAME_PATTERN)
    state: Path = key("stateDir", "Where everything generated lies; TIDEGATE_STATE overrides it.", default=Path("build/state"))
    datasets: Mapping[str, DatasetConfig] = key("datasets", "The project's datasets, by name.", factory=dict)
    models: Mapping[str, ModelConfig] = key("models", "The project's models, by name.")
    targets: Targets = key("targets", "Where the project runs.", default=Targets())
    ledger: LedgerConfig = key("ledger", "How the ledger is watched.", default=LedgerConfig())
    trusted_keys: tuple[str, ...] = key(
        "trustedKeys",
        "Public keys, one line each, whose signatures on releases count beside those of this state folder's own key.",
        default=(),
        pattern=VERIFIER_KEY,
    )
    access: Access = key("access", "Who may do what; without it, whoever can run a command.", default=Access())
    retention: Retention = key("retention", "How much is kept of what grows.", default=Retention())
    schedules: Mapping[str, Schedule] = key("schedules", "Commands that are run at stated times, by name.", factory=dict)

    def model(self, name: str) -> ModelConfig:
        """Raises NotFound, with the nearest name."""
        if name not in self.models:
            raise NotFound(f"project '{self.name}' has no model '{name}'; {did_you_mean(name, self.models)}")
        return self.models[name]

    def dataset(self, name: str) -> DatasetConfig:
        """Raises NotFound, with the nearest name."""
        if name not in self.datasets:
            raise NotFound(f"project '{self.name}' has no dataset '{name}'; {did_you_mean(name, self.datasets)}")
        return self.datasets[name]

    @property
    def local(self) -> LocalSettings:
        return self.targets.local


def nearest(name: str, allowed: Iterable[str]) -> str | None:
    """The allowed name most like `name`, if one is alike at all."""
    return next(iter(difflib.get_close_matches(name, list(allowed), n=1, cutoff=0.55)), None)


def did_you_mean(name: str, allowed: Iterable[str]) -> str:
    """`did you mean 'demand'? (allowed: demand, returns)`."""
    names = sorted(allowed)
    close = nearest(name, names)
    listing = f"allowed: {', '.join(names) or 'none'}"
    return f"did you mean '{close}'? ({listing})" if close else listing
