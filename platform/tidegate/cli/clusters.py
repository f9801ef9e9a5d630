"""What the rollout commands do with `--target kubernetes`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from tidegate.cli.session import Session
from tidegate.domain.errors import GateClosed

if TYPE_CHECKING:
    from tidegate.bootstrap.cluster import ClusterTarget, Outcome


def on_cluster(session: Session) -> ClusterTarget:
    from tidegate.bootstrap.cluster import ClusterTarget

    return ClusterTarget(session.platform)


def start_on_cluster(
    session: Session,
    model: str,
    release: str | None,
    image: str | None,
    actor: str,
    overrides: Mapping[str, str],
    detach: bool,
    dry_run: bool,
) -> None:
    """Start, or say what would be done, and follow to the end; raises GateClosed when the release did not become live."""
    cluster = on_cluster(session)
    if dry_run:
        plan = cluster.plan(model, release)
        session.emit(plan.to_json(), "\n".join(plan.describe()))
        return
    if not image:
        raise click.UsageError("--target kubernetes needs --image, the image that serves the release, by digest")
    plan = cluster.start(model, release, image, actor, overrides, session.progress)
    for line in plan.describe():
        session.progress(line)
    if detach:
        emit_outcome(session, cluster.status(model))
        return
    try:
        outcome = cluster.follow(model, session.progress)
    except KeyboardInterrupt:
        session.progress("the rollout goes on without this command; the same command again follows it")
        raise
    emit_outcome(session, outcome)
    if outcome.status != "DONE":
        raise GateClosed(f"rollout of {outcome.release} is {outcome.status}: {outcome.reason}")


def emit_outcome(session: Session, found: Outcome) -> None:
    frozen = f"; frozen by {found.frozen['actor']}: {found.frozen['reason']}" if found.frozen else ""
    head = f"rollout of {found.release}: {found.status}, live is {found.live or 'nothing'}{frozen}"
    session.emit(found, "\n".join([head, *(f"  {line}" for line in found.gates), *([found.reason] if found.reason else [])]))
