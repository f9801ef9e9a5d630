"""A project's versions and releases: trained or registered, promoted, built, signed, and made ready to be rolled out."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from tidegate.apps import versions
from tidegate.apps.project_orders import ProjectOrders
from tidegate.apps.versions import LATEST, Promotion
from tidegate.domain.access import ACCEPT, APPROVE, BUILD, PROMOTE, RECONCILE, SIGN
from tidegate.domain.actor import Actor
from tidegate.domain.errors import InvalidInput, NotFound
from tidegate.domain.release import ReleaseManifest
from tidegate.files.release_signature import SIGNED

if TYPE_CHECKING:
    from tidegate.apps.comparison import Comparison
    from tidegate.apps.datasets import Sources
    from tidegate.apps.reconcile import Reconciliation
    from tidegate.files.training_output import TrainingOutput
    from tidegate.ports.registry import ModelVersion
    from tidegate.registry.offline_gates import Approval
    from tidegate.rollout.plan import RolloutConfig


class ProjectVersions(ProjectOrders):
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

    def compare(self, model: str, before: str, after: str = LATEST) -> Comparison:
        """Two versions by number, alias or `latest`, side by side; nothing is recorded."""
        from tidegate.apps.comparison import compare

        return compare(self, model, self.version(model, before), self.version(model, after))

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

    def startable(self, manifest: ReleaseManifest) -> None:
        """Raise IntegrityError or NotFound unless a process would load the release."""
        from tidegate.apps.trust import check_startable

        check_startable(self.project, self.releases.folder(manifest.digest))

    def release(self, reference: str) -> ReleaseManifest:
        return self.releases.open(reference)[0]

    def latest_release(self, model: str) -> ReleaseManifest:
        releases = self.releases.list(self.project.model(model).name)
        if not releases:
            raise NotFound(f"model '{model}' has no release; run 'tidegate release build {model}' first")
        return releases[-1]

    def own_release(self, model: str, release: str) -> ReleaseManifest:
        """Raises InvalidInput for a release of another model."""
        manifest = self.release(release)
        if manifest.model != self.project.model(model).name:
            raise InvalidInput(f"release {manifest.id} is of model '{manifest.model}', not of '{model}'")
        return manifest

    def to_roll_out(self, model: str, release: str | None) -> tuple[ReleaseManifest, RolloutConfig]:
        """A release, by default the latest, and how its rollouts go."""
        from tidegate.apps.rollouts import rollout_config
        from tidegate.gates.monitor_file import monitor_of

        manifest = self.own_release(model, release) if release else self.latest_release(model)
        return manifest, rollout_config(monitor_of(self.releases.folder(manifest.digest), manifest))
