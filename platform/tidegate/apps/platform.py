"""The platform of a project, as commands and the demo use it: adapters built when first asked for, use cases composed.

`Platform(project)` is cheap; a vendor library is imported when a method needs it. Every method takes the name of a model of
the project first, raises `TidegateError`s, and returns plain values. What is recorded, is recorded in the ledger by the use
case that does it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tidegate.apps import versions, wiring
from tidegate.apps.opened import OpenedProject
from tidegate.apps.versions import LATEST, Promotion
from tidegate.domain.access import ACCEPT, APPROVE, BUILD, PROMOTE, RECONCILE, SIGN
from tidegate.domain.actor import PLATFORM, Actor
from tidegate.domain.contract import FeatureContract
from tidegate.domain.errors import IntegrityError, InvalidInput, NotFound, Unavailable
from tidegate.domain.release import ReleaseManifest
from tidegate.domain.verdict import GateResult
from tidegate.files.release_signature import SIGNED

if TYPE_CHECKING:
    from tidegate.apps.datasets import Sources
    from tidegate.apps.inspection import Replayed
    from tidegate.apps.reconcile import Reconciliation
    from tidegate.data.model_data import ModelData
    from tidegate.data.report import IngestReport
    from tidegate.data.tables import TablesReport
    from tidegate.files.training_output import TrainingOutput
    from tidegate.gates.watch import WatchResult
    from tidegate.ports.delivery import Standing
    from tidegate.ports.registry import ModelVersion
    from tidegate.registry.offline_gates import Approval
    from tidegate.rollout.orders import Orders
    from tidegate.rollout.plan import RolloutConfig


@dataclass(frozen=True)
class Running:
    """What `up` left running; `live` is the release id that answers for each model, or None."""

    supervisor: int
    gateway_url: str
    live: Mapping[str, str | None]


class Platform(OpenedProject):
    """One project on one state folder, and what can be done with it."""

    # --- data and features ------------------------------------------------------------------------------------------

    def ingest(self, name: str, sources: Sequence[Path] | None = None) -> IngestReport:
        """Sort the rows of a dataset, or of a model's only one, into its classes and a quarantine."""
        from tidegate.apps.datasets import dataset_names, ingest_dataset

        names = dataset_names(self.project, name)
        if len(names) > 1:
            raise InvalidInput(f"model '{name}' has the datasets {', '.join(names)}; name one")
        return ingest_dataset(self.project, names[0], sources, self.state.all_data, self.progress)

    def ingest_all(self, model: str) -> list[IngestReport]:
        """Ingest every dataset of a model."""
        return [self.ingest(name) for name in self.project.model(model).datasets]

    def ingest_report(self, name: str) -> IngestReport:
        """What the last ingestion of a dataset counted; raises NotFound."""
        from tidegate.data.report import load_report

        return load_report(self.state.data(self.project.dataset(name).name))

    def data(self, model: str) -> ModelData:
        """The ingested rows that a model is made of, by class; raises NotFound."""
        from tidegate.apps.datasets import model_data

        return model_data(self.project, model)

    def known_entities(self, model: str, moment: datetime) -> list[str]:
        """The entities that the online store holds once it is brought to `moment`, sorted."""
        from tidegate.apps.model_features import known_entities

        return known_entities(self, model, moment)

    def apply_features(self, model: str) -> tuple[str, ...]:
        return self.feature_store(model).apply()

    def build_features(self, model: str, until: datetime | None = None) -> TablesReport:
        """Feature tables of data before `until` (default: just after the newest row), by the model's tables definition."""
        from tidegate.data.tables import build_tables

        definition = self.project.model(model).its_features().tables_definition
        return build_tables(definition, self.data(model), self.feature_folder(model).tables, until, self.progress)

    def materialize(self, model: str, until: datetime | None = None) -> int:
        """Bring the online store to `until` (default: now); returns the number of entities."""
        return self.feature_store(model).materialize(until or datetime.now(UTC))

    def contract(self, model: str) -> FeatureContract:
        return self.feature_store(model).contract(self.project.model(model).its_features().service)

    def online_features(self, model: str, entities: Sequence[str]) -> dict[str, dict[str, Any]]:
        """What the online store holds of keys as people write them (`domain.key_texts`): by entity `key`, `found`,
        `event_timestamp` (ISO) and `values` by stored feature, None where one is missing."""
        from tidegate.apps.model_features import online_features

        return online_features(self, model, entities)

    def features_at(self, model: str, entities: Sequence[str], moment: datetime) -> dict[str, dict[str, Any]]:
        """The same as the offline path knew it at a past moment."""
        from tidegate.apps.model_features import features_at

        return features_at(self, model, entities, moment)

    def freshness(self, model: str) -> list[dict[str, Any]]:
        """Of each view that the model's service reads: how far the online rows were brought, and how old the newest is."""
        from tidegate.apps.model_features import online_freshness

        return online_freshness(self, model)

    def online_status(self, release: ReleaseManifest) -> dict[str, Any] | None:
        from tidegate.apps.online_status import online_status

        return online_status(self, release)

    def check_features(self, model: str, entities: int) -> GateResult:
        """The online store's rows of up to `entities` entities against the offline path, value by value."""
        from tidegate.apps.model_features import check_features

        return check_features(self, model, entities)

    # --- training, promotion, releases ------------------------------------------------------------------------------

    def train(self, model: str, until: datetime | None = None, sources: Sources | None = None) -> ModelVersion:
        """Run the model's pipeline on data before `until` (default: all) and register what it made.

        With `sources`, other raw files of datasets are ingested and trained on, beside the project's data and without touching
        them.
        """
        from tidegate.apps.datasets import ingest_beside
        from tidegate.apps.training import train

        data = ingest_beside(self.project, model, sources, self.progress) if sources else None
        return train(self, model, until, data)

    def training_output(self, model: str, version: str = LATEST) -> TrainingOutput:
        """The training output of a version, fetched from the registry and verified; kept in the state folder."""
        return versions.training_output(self, model, version)

    def register_external(self, model: str, folder: Path) -> ModelVersion:
        """Register a training output (layout: tidegate.files.training_output) that was made elsewhere."""
        return versions.register_external(self, model, folder)

    def accept_evidence(self, model: str, version: str, reason: str, actor: Actor | None = None) -> ModelVersion:
        """Bind the evidence of a version that was registered before digests of it were recorded, on a person's word."""
        actor = self.allowed(ACCEPT, model, actor)
        return versions.accept_evidence(self, model, version, reason, actor)

    def version(self, model: str, version: str = LATEST) -> ModelVersion:
        """A version by number, alias, or `latest`; raises NotFound."""
        return versions.find_version(self, model, version)

    def version_to_release(self, model: str, version: str | None = None) -> ModelVersion:
        """The version that `build_release` takes."""
        return versions.find_version(self, model, version) if version else versions.version_to_release(self, model)

    def promote(
        self,
        model: str,
        version: str = LATEST,
        approved: Approval | None = None,
        dry_run: bool = False,
        actor: Actor | None = None,
    ) -> Promotion:
        """Judge a version by the offline gates and, unless `dry_run`, record the outcome and make it the candidate.

        Does not raise for a gate that did not pass: see `Promotion.opens`.
        """
        actor = actor or self.whoami
        if not dry_run:
            self.allowed(PROMOTE, model, actor)
            if approved:
                self.allowed(APPROVE, model, approved.by)
            self.before_a_step_forward(model)
        return versions.promote(self, model, version, approved, dry_run, actor)

    def reconcile(self, model: str, dry_run: bool = False, actor: Actor | None = None) -> Reconciliation:
        """Compare registry, ledger and live release and, unless `dry_run`, tell the registry what is live."""
        from tidegate.apps.reconcile import reconcile

        actor = self.allowed(RECONCILE, model, actor) if not dry_run else self.whoami
        return reconcile(self, self.project.model(model).name, dry_run, actor)

    def build_release(
        self, model: str, version: str | None = None, serving: Path | None = None, actor: Actor | None = None
    ) -> ReleaseManifest:
        """Build a release of a promoted version, by default the candidate or else the champion; drift thresholds are
        calibrated on its own reference profile.

        `serving` is another serving folder than the project's. Raises Conflict for a version that was not promoted.
        """
        actor = self.allowed(BUILD, model, actor)
        self.before_a_step_forward(model)
        manifest = versions.build_release(self, model, version, serving, actor)
        self.admit(manifest)  # signed, because the ledger names it now
        return manifest

    def admit(self, manifest: ReleaseManifest) -> Path:
        """The folder of a release that may be served. Raises IntegrityError for one that no trusted key signed and the ledger
        does not name."""
        from tidegate.apps.trust import admit

        folder = self.releases.folder(manifest.digest)
        admit(self.project, self.ledger, folder)
        return folder

    def sign_release(self, reference: str, reason: str, actor: Actor | None = None) -> ReleaseManifest:
        """Sign a release on a person's word, and record it. Raises IntegrityError where its files are not the manifest's."""
        from tidegate.registry.releases import refuse_pickles

        manifest = self.releases.verify(reference)
        refuse_pickles(self.releases.folder(manifest.digest))
        actor = self.allowed(SIGN, manifest.model, actor)
        self.before_a_step_forward(manifest.model)
        body = {"digest": manifest.digest, "version": manifest.version, "reason": reason}
        self.ledger.append(SIGNED, manifest.id, body, actor)
        self.admit(manifest)
        return manifest

    def allowed(self, verb: str, model: str, actor: Actor | None = None) -> Actor:
        """Who does it, by default who runs this process; raises AccessDenied for one who may not."""
        who = actor or self.whoami
        self.guard.require(who, verb, self.project.model(model).name)
        return who

    def before_a_step_forward(self, model: str) -> None:
        """Record what waits for the ledger. Raises IntegrityError while it does not verify, Unavailable while it is full."""
        verification = self.ledger.check()
        if not verification.ok:
            raise IntegrityError(f"ledger: {verification.problem}; nothing is promoted or rolled out until it is restored")
        with self.rollouts.lock(self.project.model(model).name):
            self.orders().recorder.catch_up(model)

    def release(self, reference: str) -> ReleaseManifest:
        return self.releases.open(reference)[0]

    def latest_release(self, model: str) -> ReleaseManifest:
        releases = self.releases.list(self.project.model(model).name)
        if not releases:
            raise NotFound(f"model '{model}' has no release; run 'tidegate release build {model}' first")
        return releases[-1]

    # --- rollouts ---------------------------------------------------------------------------------------------------

    def orders(self, actor: Actor = PLATFORM) -> Orders:
        from tidegate.rollout.orders import Orders

        return Orders(self.rollouts, self.target, self.ledger, actor, self.clock)

    def to_roll_out(self, model: str, release: str | None) -> tuple[ReleaseManifest, RolloutConfig]:
        """A release, by default the latest, and how its rollouts go."""
        from tidegate.apps.rollouts import rollout_config
        from tidegate.gates.monitor_file import monitor_of

        manifest = self.own_release(model, release) if release else self.latest_release(model)
        return manifest, rollout_config(monitor_of(self.releases.folder(manifest.digest), manifest))

    def own_release(self, model: str, release: str) -> ReleaseManifest:
        """Raises InvalidInput for a release of another model."""
        manifest = self.release(release)
        if manifest.model != self.project.model(model).name:
            raise InvalidInput(f"release {manifest.id} is of model '{manifest.model}', not of '{model}'")
        return manifest

    # --- evidence ---------------------------------------------------------------------------------------------------

    def status(self, model: str, with_drift: bool = True) -> Standing:
        from tidegate.apps.model_status import model_status

        return model_status(self, self.project.model(model).name, with_drift)

    def drift(self, model: str, release: str | None = None, since: float = 0.0) -> list[WatchResult]:
        """The live vectors of a release (default: the live one) against its reference, for each week of their data."""
        from tidegate.gates.watch import watch

        manifest = self.release(release or self.live_release(model))
        return watch(manifest, self.releases.folder(manifest.digest), self.records(model), wiring.drift_meter(), since)

    def live_release(self, model: str) -> str:
        """Digest of the release that is wanted live; raises NotFound."""
        digest = self.target.desired(self.project.model(model).name).active_release
        if digest is None:
            raise NotFound(f"model '{model}' has no live release; start one with 'tidegate rollout {model}'")
        return digest

    def run_gate(self, model: str, gate: str, seconds: float) -> GateResult:
        """Evaluate one gate now on traffic of the last `seconds`; nothing is recorded."""
        from tidegate.apps.gates import build_gates
        from tidegate.apps.inspection import gate_context
        from tidegate.gates.monitor_file import monitor_of

        context = gate_context(self, model, seconds)
        monitor_of(context.candidate_folder, context.candidate).gate(gate, f"release {context.candidate.id}")
        return build_gates(self.project, model)(gate, context)

    def verdicts(self, model: str, gate: str | None = None) -> list[dict[str, Any]]:
        """Every recorded verdict on versions and releases of the model, oldest first."""
        from tidegate.apps.inspection import recorded_verdicts

        return recorded_verdicts(self.ledger, self.project.model(model).name, gate)

    def replay(self, request_id: str) -> Replayed:
        """Recompute a served prediction to the bit, its features by the offline path, with the rows behind it."""
        from tidegate.apps.inspection import replay_request

        return replay_request(self, request_id)

    # --- processes --------------------------------------------------------------------------------------------------

    def up(self, wait: bool = False) -> Running:
        """Start supervisor and gateway unless they run; with `wait`, until what is live is ready too. Raises Unavailable."""
        from tidegate.apps.supervision import await_live, ensure_supervisor

        pid = ensure_supervisor(self.project)
        active = {model: self.target.desired(model).active_release for model in self.project.models}
        live = {model: f"{model}@{digest[:12]}" if digest else None for model, digest in active.items()}
        if wait:
            await_live(self.target, [model for model, digest in active.items() if digest])
        return Running(pid, self.target.gateway_url, live)

    def is_up(self) -> bool:
        from tidegate.apps.supervision import supervisor_pid

        return supervisor_pid(self.state) is not None

    def started_otherwise(self) -> str:
        """What the supervisor that runs was started with, where that is not what this project says; else empty."""
        from tidegate.apps.supervision import started_otherwise

        return started_otherwise(self.project)

    def down(self) -> bool:
        """Drain and stop everything; False when nothing ran."""
        from tidegate.apps.supervision import stop_supervisor

        return stop_supervisor(self.project)

    def serving_arguments(self, release: str, port: int, slot: str) -> list[str]:
        """The command line that serves one release by itself."""
        from tidegate.apps.local_slot import local_slot

        manifest, folder = self.releases.open(release)
        return local_slot(self.project, folder, manifest.model, slot, port).command()

    def serve(self, arguments: Sequence[str]) -> None:
        """Become the serving process; does not return."""
        self.state.logs.mkdir(parents=True, exist_ok=True)
        sys.stdout.flush()
        try:
            os.execv(arguments[0], list(arguments))  # noqa: S606 (a list that we built, no shell)
        except OSError as error:
            raise Unavailable(f"serving: {arguments[0]} cannot be started ({error.strerror})") from error
