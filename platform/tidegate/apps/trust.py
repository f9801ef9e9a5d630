"""What a project trusts: its ledger, watched from outside, and the releases that a trusted key signed or the ledger names.

Releases of versions of Tidegate before there were signatures have none: where the ledger is intact and names them, they count,
and are signed then. Nothing else signs a release but building it and a person's `tidegate release sign`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from tidegate.adapters.files.ledger_file import FileLedger
from tidegate.adapters.files.release_keys import SIGN, environment_keys, parse_keys, require_signed, unsigned
from tidegate.apps import wiring
from tidegate.domain.digests import is_digest
from tidegate.domain.errors import IntegrityError, TidegateError
from tidegate.domain.project import Project
from tidegate.domain.release import SHORT
from tidegate.domain.signed_notes import VerifierKey
from tidegate.files.layout import StateFolder
from tidegate.files.release_folder import verify_release
from tidegate.files.release_signature import BUILT, SIGNED
from tidegate.ports.ledger import Query
from tidegate.rollout.local.release_watch import ReleaseWatch
from tidegate.rollout.unrecorded import Recorder

logger = logging.getLogger("tidegate.trust")


def trusted_keys(project: Project) -> tuple[VerifierKey, ...]:
    """Of the state folder itself, of the project file, and of the environment."""
    own = wiring.release_keys(StateFolder(project.state)).public()
    return (*([own] if own else []), *parse_keys(project.trusted_keys), *environment_keys())


def admit(project: Project, ledger: FileLedger, release: Path) -> None:
    """Let a release be served: a trusted key signed it, or the intact ledger names it and it is signed now.

    Raises IntegrityError for any other, and for one that only a damaged ledger names.
    """
    problem = unsigned(release, trusted_keys(project))
    if not problem:
        return
    verification = ledger.check()
    if not verification.ok:
        raise IntegrityError(
            f"release {release.name[:SHORT]}: {problem}, and what the ledger says of it does not count: {verification.problem}"
        )
    if release.name not in named_releases(ledger):
        raise IntegrityError(
            f"release {release.name[:SHORT]} is not one that this platform built: {problem}, and the ledger does not name it; "
            f"if you vouch for it, {SIGN} signs and records it"
        )
    wiring.release_keys(StateFolder(project.state)).sign(release)


def named_releases(ledger: FileLedger) -> set[str]:
    """Digests of the releases that were built or signed here. Raises IntegrityError for a ledger that does not verify."""
    return {str(entry.body.get("digest")) for entry in ledger.entries(Query(actions=(BUILT, SIGNED)))}


def adopt_releases(project: Project) -> None:
    """Sign what an earlier version of Tidegate built and recorded, so that processes can load it. Never raises: what cannot be
    signed is not loaded, and that says why."""
    folders = [each for each in StateFolder(project.state).releases.glob("*") if is_digest(each.name) and each.is_dir()]
    try:
        trusted = trusted_keys(project)
        lacking = [folder for folder in folders if unsigned(folder, trusted)]
        named = named_releases(wiring.ledger(project)) if lacking else set()
        for folder in lacking:
            if folder.name in named:
                wiring.release_keys(StateFolder(project.state)).sign(folder)
    except TidegateError as error:
        logger.warning("releases without a signature were not signed: %s", error)


def release_watch(project: Project) -> ReleaseWatch:
    """Looks whether what slots run could be started again."""
    return ReleaseWatch(StateFolder(project.state).release, lambda folder: check_startable(project, folder))


def check_startable(project: Project, release: Path) -> None:
    """Raise IntegrityError or NotFound unless the files are the manifest's and a trusted key signed it."""
    verify_release(release)
    require_signed(release, trusted_keys(project))


def ledger_remarks(project: Project, models: Sequence[str]) -> list[str]:
    """What people should know of the ledger at a glance: that it is damaged, that its checkpoint is away, that entries wait."""
    remarks = []
    try:
        verification = wiring.ledger(project).check()
        if not verification.ok:
            remarks.append(f"DAMAGED: {verification.problem}; nothing is promoted until it is restored")
        if verification.checkpoint.startswith("NOT "):
            remarks.append(verification.checkpoint)
    except TidegateError as error:
        remarks.append(str(error))
    return [*remarks, *waiting_remarks(project, models)]


def waiting_remarks(project: Project, models: Sequence[str]) -> list[str]:
    recorder = Recorder(wiring.ledger(project), StateFolder(project.state).rollouts)
    return [remark for model in models if (remark := recorder.remark(model))]
