"""The layout of the state folder, said once: where everything generated lies (docs/state-folder.md says what each part is).

A model's features have a layout of their own, in `tidegate.files.feature_folder`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class StateFolder:
    """Paths below a state folder; nothing need exist yet."""

    root: Path

    @property
    def all_data(self) -> Path:
        """The ingested datasets, a folder each."""
        return self.root / "data"

    def data(self, dataset: str) -> Path:
        return self.all_data / dataset

    @property
    def exports(self) -> Path:
        """Data sets that were ingested beside the project's, by the digest of their sources."""
        return self.root / "exports"

    @property
    def mlflow(self) -> Path:
        return self.root / "mlflow"

    @property
    def pipelines(self) -> Path:
        return self.root / "pipelines"

    @property
    def champions(self) -> Path:
        """Fetched training outputs of champions, for comparison while training."""
        return self.pipelines / "champions"

    @property
    def runs(self) -> Path:
        """What each pipeline run on this machine wrote."""
        return self.pipelines / "runs"

    @property
    def all_outputs(self) -> Path:
        return self.root / "outputs"

    def outputs(self, model: str) -> Path:
        """Fetched training outputs of a model's versions."""
        return self.all_outputs / model

    @property
    def releases(self) -> Path:
        return self.root / "releases"

    def release(self, digest: str) -> Path:
        return self.releases / digest

    @property
    def rollouts(self) -> Path:
        return self.root / "rollouts"

    @property
    def ledger(self) -> Path:
        return self.root / "ledger"

    @property
    def keys(self) -> Path:
        """The signed head of the ledger, and the keys that sign it and releases."""
        return self.root / "keys"

    @property
    def cluster(self) -> Path:
        """What the gate service has recorded of a cluster's rollouts."""
        return self.root / "cluster"

    @property
    def gateway_counts(self) -> Path:
        """What a cluster's gateway has counted of each model, all its pods together."""
        return self.cluster / "counters"

    @property
    def schedules(self) -> Path:
        """What is known of each schedule's runs."""
        return self.root / "schedules"

    @property
    def schedule_metrics(self) -> Path:
        """How schedules stand, as a text file for Prometheus."""
        return self.schedules / "metrics" / "tidegate.prom"

    @property
    def images(self) -> Path:
        """What images are made of: packages, and the build contexts under way."""
        return self.root / "images"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def supervisor_log(self) -> Path:
        return self.logs / "supervisor.log"

    @property
    def target(self) -> Path:
        return self.root / "target"

    @property
    def envoy(self) -> Path:
        return self.target / "envoy"

    @property
    def pids(self) -> Path:
        return self.target / "pids"

    @property
    def beats(self) -> Path:
        return self.target / "beats"

    @property
    def observed(self) -> Path:
        return self.target / "observed.json"

    @property
    def clock(self) -> Path:
        return self.target / "clock.json"

    @property
    def supervisor_lock(self) -> Path:
        return self.target / "supervisor.lock"

    def counted(self, model: str) -> Path:
        """What the gates of the stage under way have counted."""
        return self.root / "gates" / model

    def watched(self, model: str) -> Path:
        """What the watch has seen of past windows."""
        return self.root / "watch" / f"{model}.json"

    def desired(self, model: str) -> Path:
        return self.target / f"desired-{model}.json"
