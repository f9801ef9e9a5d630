"""From a registered version to a release: its evidence fetched and checked, promotion, and the building of releases.

Whatever store the training output came from, and however long ago it was fetched, it is compared with the digest that was
recorded when the version was registered, before it is judged and before a release is built of it.
"""

from __future__ import annotations

import tempfile
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tidegate.domain.actor import PLATFORM, Actor
from tidegate.domain.errors import Conflict, NotFound, TidegateError
from tidegate.domain.release import ReleaseManifest
from tidegate.domain.verdict import GateResult
from tidegate.files.release_signature import BUILT
from tidegate.ports.registry import ModelVersion, check_digests

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tidegate.apps.opened import OpenedProject
    from tidegate.files.evaluation import Evaluation
    from tidegate.files.training_output import TrainingOutput
    from tidegate.registry.collapse import Answers
    from tidegate.registry.offline_gates import Approval

LATEST = "latest"
SOURCE, EXTERNAL = "tidegate.source", "external"


@dataclass(frozen=True)
class Promotion:
    """The offline gates of one version; `opens` when all passed. Nothing was recorded when it was a dry run."""

    version: ModelVersion
    results: tuple[GateResult, ...]

    @property
    def opens(self) -> bool:
        return bool(self.results) and all(result.verdict.opens for result in self.results)


def find_version(platform: OpenedProject, model: str, version: str) -> ModelVersion:
    platform.project.model(model)
    if version != LATEST:
        return platform.registry.get(model, version)
    versions = platform.registry.versions(model)
    if not versions:
        raise NotFound(f"model '{model}' has no registered version; run 'tidegate train {model}' first")
    return max(versions, key=lambda each: int(each.version))


def version_to_release(platform: OpenedProject, model: str) -> ModelVersion:
    """The candidate, or else the champion: what a release is built of when nobody says which version."""
    from tidegate.registry.promotion import CANDIDATE, aliased

    found = aliased(platform.registry, platform.project.model(model).name, CANDIDATE) or champion(platform, model)
    if found is None:
        raise NotFound(
            f"building a release of {model}: it has neither a candidate nor a champion; promote a version with "
            f"'tidegate promote {model}', or name one: 'tidegate release build {model} VERSION'"
        )
    return found


def training_output(platform: OpenedProject, model: str, version: str) -> TrainingOutput:
    """The training output of a version, fetched from the registry; what is kept of it here is verified each time."""
    from tidegate.files.training_output import open_output

    found = find_version(platform, model, version)
    kept = platform.state.outputs(model) / f"{found.version}-{found.artifact_digest[:12]}"
    if not kept.is_dir():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=kept.parent) as folder:
            platform.registry.fetch(found, Path(folder) / "output").rename(kept)
    what = f"opening {kept} (a copy; remove it, and what the registry has is fetched again)"
    return open_output(check_digests(kept, found, what))


def register_external(platform: OpenedProject, model: str, folder: Path) -> ModelVersion:
    from tidegate.apps.model_check import check_output, decide_tensors
    from tidegate.files.training_output import open_output
    from tidegate.registry.evidence import record_registration

    what = f"registering {folder} as a version of {model}"
    decide_tensors(folder, what)
    output = open_output(folder)
    check_output(output, what)
    tags = {SOURCE: EXTERNAL, "trained_until": output.lineage.trained_until}
    version = platform.registry.register(platform.project.model(model).name, folder, output.metrics, tags)
    record_registration(platform.ledger, version)
    return version


def accept_evidence(platform: OpenedProject, model: str, version: str, reason: str, actor: Actor) -> ModelVersion:
    """Bind, on a person's word, the evidence of a version that was registered before digests of it were recorded."""
    from tidegate.registry.evidence import bind, recorded_digest

    found = find_version(platform, model, version)
    if found.output_digest or recorded_digest(platform.ledger, found):
        raise Conflict(
            f"evidence of {model}/{found.version} is bound already; 'tidegate promote {model} {found.version}' judges it"
        )
    bind(training_output(platform, model, found.version), found, platform.ledger, reason, actor)
    return found


def champion(platform: OpenedProject, model: str) -> ModelVersion | None:
    """The version that answers requests: by what is live, else by the ledger, else by the registry's alias.

    An alias that somebody moved or deleted does not change who the champion is. Raises Conflict when the registry lacks it.
    """
    from tidegate.apps.reconcile import lacking, live_version
    from tidegate.registry.promotion import CHAMPION, aliased, recorded_champion

    recorded = recorded_champion(platform.ledger, model)
    live = live_version(platform, model)
    version = live.version if live else recorded.version if recorded else None
    if version is None:
        return aliased(platform.registry, model, CHAMPION)
    try:
        return platform.registry.get(model, version)
    except NotFound as error:
        raise lacking(model, version, live.id if live else None) from error


@dataclass(frozen=True)
class _Judged:
    """A version that is run beside the champion (another version, or None), whose training output is verified like its own."""

    platform: OpenedProject
    output: TrainingOutput
    version: ModelVersion
    champion: ModelVersion | None

    def scores(self, min_rows: int) -> Evaluation:
        """Of both, on the version's rows."""
        from tidegate.apps.scoring import scores

        theirs = self._theirs()
        champion = (self.champion.version, theirs) if self.champion and theirs else None
        return scores(self.output, champion, min_rows, f"scoring {self.version.model}/{self.version.version}")

    def answers(self) -> tuple[Mapping[str, Answers], Mapping[str, Answers] | None]:
        """Of each, to its own reference."""
        from tidegate.apps.scoring import said_of_reference
        from tidegate.registry.collapse import answers_of

        theirs = self._theirs()
        ours = answers_of(said_of_reference(self.output, f"running {self.version.model}/{self.version.version}"))
        return ours, answers_of(said_of_reference(theirs, "running the champion")) if theirs else None

    def _theirs(self) -> TrainingOutput | None:
        from tidegate.registry.evidence import check_bound

        if self.champion is None:
            return None
        theirs = training_output(self.platform, self.champion.model, self.champion.version)
        check_bound(theirs, self.champion, self.platform.ledger, record=False)
        return theirs


def _scored_here(output: TrainingOutput) -> bool:
    """Whether the platform can score the version: its evaluation says by what. One that cannot be read is the gates' to say."""
    try:
        return bool(output.evaluation.summary.losses)
    except TidegateError:
        return False


def promote(
    platform: OpenedProject, model: str, version: str, approved: Approval | None, dry_run: bool, actor: Actor = PLATFORM
) -> Promotion:
    from tidegate.apps.reconcile import settle
    from tidegate.domain.errors import GateClosed
    from tidegate.domain.project import Approval as Rule
    from tidegate.registry.evidence import check_bound
    from tidegate.registry.offline_gates import offline_gates
    from tidegate.registry.promotion import promote as move

    found = find_version(platform, model, version)
    if not dry_run:
        settle(platform, model)
    leading = champion(platform, model)
    output = training_output(platform, model, found.version)
    digest = check_bound(output, found, platform.ledger, record=not dry_run)
    rules = platform.monitor(model).promotion
    beside = leading if leading and leading.version != found.version else None
    judged = _Judged(platform, output, found, beside)
    results = offline_gates(
        output,
        f"{model}/{found.version}",
        found.artifact_digest,
        leading.version if leading else None,
        rules,
        platform.project.model(model).approval is Rule.REQUIRED,
        approved,
        version=found.version,
        external=found.tags.get(SOURCE) == EXTERNAL,
        scores=partial(judged.scores, rules.min_rows) if _scored_here(output) else None,
        answers=judged.answers,
    )
    promotion = Promotion(found, tuple(results))
    if not dry_run:
        with suppress(GateClosed):  # recorded, and said by `opens`
            move(platform.registry, platform.ledger, found, results, approved.by if approved else actor, digest)
    return promotion


def build_release(
    platform: OpenedProject, model: str, version: str | None, serving: Path | None, actor: Actor = PLATFORM
) -> ReleaseManifest:
    from tidegate.apps.drift_profile import drift_thresholds
    from tidegate.apps.model_check import check_output, check_service
    from tidegate.registry.evidence import check_bound, promoted

    found = find_version(platform, model, version) if version else version_to_release(platform, model)
    if not promoted(platform.ledger, found):
        raise Conflict(
            f"building a release of {model}/{found.version}: the ledger has no promotion of it that passed the offline gates; "
            f"run 'tidegate promote {model} {found.version}' first"
        )
    config = platform.monitor(model)
    output = training_output(platform, model, found.version)
    digest = check_bound(output, found, platform.ledger)
    folder = serving or platform.project.model(model).serving
    what = f"building a release of {model}/{found.version}"
    check_output(output, what)
    check_service(folder, platform.state.logs / ".bentoml", what)
    platform.progress(f"calibrating drift thresholds on {len(output.reference):,} reference vectors")
    thresholds = drift_thresholds(output, config, what)
    manifest = platform.releases.build(output, found, folder, config.release_copy(), thresholds.to_json(), config.own)
    body = {"digest": manifest.digest, "version": manifest.version, "evidence": digest}
    platform.ledger.append(BUILT, manifest.id, body, actor)
    return manifest
