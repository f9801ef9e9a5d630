"""The evidence of a version, bound to it: a digest over its whole training output, in the registry and in the ledger.

Gates judge a version on files that lie in a store which others may write to. So the digest is recorded when the version is
registered (`registration`), and what is judged or built later has to be what was registered. The ledger's first word on a
version holds: a tag changed afterwards, or a version number that another registry gave again, is noticed.

Versions that were registered before there was such a digest have none. One whose promotion the ledger has is bound when its
evidence is next read; any other waits for a person (`accept`) or is trained again. Both need that the files say what MLflow
recorded when the version was registered: the model's digest, the lineage, the metrics.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict

import polars as pl

from tidegate.domain.actor import PLATFORM, Actor
from tidegate.domain.errors import Conflict, IntegrityError, TidegateError
from tidegate.files.training_folder import output_digest
from tidegate.files.training_output import TrainingOutput
from tidegate.ports.ledger import Ledger, Query
from tidegate.ports.registry import ModelVersion

REGISTRATION, BOUND, PROMOTION = "registration", "evidence.bound", "promotion"


def record_registration(ledger: Ledger, version: ModelVersion, actor: Actor = PLATFORM) -> None:
    """Say in the ledger what was registered, once."""
    if recorded_digest(ledger, version) is None and version.output_digest:
        body = {"output": version.output_digest, "artifact": version.artifact_digest, "run": version.run_id}
        ledger.append(REGISTRATION, subject_of(version), body, actor)


def subject_of(version: ModelVersion) -> str:
    return f"{version.model}/{version.version}"


def recorded_digest(ledger: Ledger, version: ModelVersion) -> str | None:
    """The digest of the version's training output that the ledger names first; None when it names none."""
    digests = (entry.body.get("output") for entry in ledger.entries(Query(subject=subject_of(version))))
    return next((str(digest) for digest in digests if digest), None)


def promoted(ledger: Ledger, version: ModelVersion) -> bool:
    """Whether the version passed the offline gates when it last met them, as the ledger has it."""
    promotions = Query(subject=subject_of(version), actions=(PROMOTION,))
    last = next(iter(ledger.entries(promotions, newest_first=True)), None)
    return last is not None and last.body.get("outcome") == "passed"


def check_bound(output: TrainingOutput, version: ModelVersion, ledger: Ledger, record: bool = True) -> str:
    """The digest of the training output that `version` is judged on or built of, if it is the one that was registered.

    Raises IntegrityError when it is another, or when tag and ledger differ; Conflict when nobody recorded one. With `record`
    False the ledger is not written to.
    """
    subject, observed = subject_of(version), output_digest(output.folder)
    recorded, tag = recorded_digest(ledger, version), version.output_digest
    if recorded and tag and recorded != tag:
        raise IntegrityError(
            f"evidence of {subject}: the registry names digest {tag[:12]}, the ledger {recorded[:12]}; the tag was changed or "
            f"the registry is another one, so nothing is judged: train and register again"
        )
    wanted = recorded or tag
    if not wanted:
        if not promoted(ledger, version):
            raise Conflict(
                f"evidence of {subject}: its digest is not known, for the version was registered before digests of whole "
                f"training outputs were recorded; train again, or let a person bind what lies there now with "
                f"'tidegate registry accept {version.model} {version.version} --reason TEXT'"
            )
        why = "promoted before digests of whole training outputs were recorded"
        return bind(output, version, ledger, why) if record else checked(output, version)
    if observed != wanted:
        raise IntegrityError(
            f"evidence of {subject}: the training output has digest {observed[:12]}, registered {wanted[:12]}; it was changed "
            "after the version was registered, train and register again"
        )
    return observed


def bind(output: TrainingOutput, version: ModelVersion, ledger: Ledger, reason: str, actor: Actor = PLATFORM) -> str:
    """Record the digest of what lies there now as the version's, if it says what the registry recorded of it."""
    digest = checked(output, version)
    ledger.append(BOUND, subject_of(version), {"output": digest, "artifact": version.artifact_digest, "reason": reason}, actor)
    return digest


def checked(output: TrainingOutput, version: ModelVersion) -> str:
    """The output's digest, if the files say what the registry recorded; raises IntegrityError naming the first difference."""
    difference = next(differences(output, version), None)
    if difference:
        raise IntegrityError(
            f"evidence of {subject_of(version)}: {difference}; it is not what was registered, train and register again"
        )
    return output_digest(output.folder)


def differences(output: TrainingOutput, version: ModelVersion) -> Iterator[str]:
    """What the files say otherwise than the registry's record of the version."""
    if output.artifact_digest != version.artifact_digest:
        yield f"model.onnx has digest {output.artifact_digest[:12]}, registered {version.artifact_digest[:12] or 'nothing'}"
    for name, value in asdict(output.lineage).items():
        if (known := version.tags.get(f"lineage.{name}")) != str(value):
            yield f"lineage.json says '{name}' is {value}, recorded {known or 'nothing'}"
    metrics = output.metrics
    for name in sorted(metrics.keys() | version.metrics.keys()):
        here, there = metrics.get(name, math.nan), version.metrics.get(name, math.nan)
        if not math.isclose(here, there, rel_tol=1e-9):
            yield f"evaluation.json says {name} is {here:.6g}, recorded {there:.6g}"
    yield from _wrong_table(output)


def _wrong_table(output: TrainingOutput) -> Iterator[str]:
    """The losses by the evaluation's rows are those of its summary."""
    try:
        yield from output.evaluation.contradictions()
    except (TidegateError, pl.exceptions.PolarsError, KeyError, TypeError, ValueError) as error:
        yield f"its evaluation cannot be recomputed ({type(error).__name__}: {error})"
