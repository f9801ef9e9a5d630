"""What commands of what is live do with `--target kubernetes`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from tidegate.cli.session import Session
from tidegate.domain.errors import GateClosed, Unavailable

if TYPE_CHECKING:
    from tidegate.apps.cluster import ClusterStatus, ClusterTarget, Outcome


def on_cluster(session: Session) -> ClusterTarget:
    from tidegate.apps.cluster import ClusterTarget

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


def roll_back_on_cluster(session: Session, model: str, reason: str, actor: str, dry_run: bool, to: str = "") -> None:
    """To the release before, or the one whose digest begins with `to`. Follows to the end; raises GateClosed when clients do
    not reach it."""
    cluster = on_cluster(session)
    if dry_run:
        back = cluster.earlier(model, to)
        session.emit({"model": model, "to": back}, f"would go back to {back}")
        return
    outcome = cluster.rollback(model, reason, actor, session.progress, to)
    emit_outcome(session, outcome)
    if outcome.status not in ("DONE", "ABORTED", "ROLLED_BACK"):
        raise GateClosed(f"rollback of {model} is {outcome.status}: {outcome.reason}")


def show_cluster(session: Session, models: list[str]) -> None:
    cluster = on_cluster(session)
    found = [cluster.overview(model) for model in models]
    session.emit(found, "\n\n".join(map(_overview_text, found)))


def diagnose_cluster(session: Session) -> None:
    from tidegate.apps.doctor import diagnose

    checks = diagnose(session.project)
    lines = []
    for each in checks:
        mark = click.style("ok   ", fg="green") if each.ok else click.style("WRONG", fg="red", bold=True)
        lines.append(f"{mark} {each.subject}: {each.observed}" + ("" if each.ok else f"\n      {each.fix}"))
    session.emit(checks, "\n".join(lines))
    if wrong := [each.subject for each in checks if not each.ok]:
        raise Unavailable(f"{len(wrong)} of {len(checks)} checks found something wrong: {', '.join(wrong)}")


def _overview_text(found: ClusterStatus) -> str:
    lines = [
        click.style(f"{found.model} in namespace {found.namespace}", bold=True),
        f"  live     {found.rollout.live or 'nothing'}",
        *(f"  pods     {pods.release} {pods.role}: {pods.ready} of {pods.wanted} ready" for pods in found.pods),
        f"  scaled   by {found.scaled_by}",
        f"  rollout  {_outcome_line(found.rollout)}",
    ]
    return "\n".join([*lines, *(f"           {line}" for line in found.rollout.gates)])


def _outcome_line(found: Outcome) -> str:
    frozen = f"; frozen by {found.frozen['actor']}: {found.frozen['reason']}" if found.frozen else ""
    return f"{found.release} {found.status}{f': {found.reason}' if found.reason else ''}{frozen}"


def emit_outcome(session: Session, found: Outcome) -> None:
    frozen = f"; frozen by {found.frozen['actor']}: {found.frozen['reason']}" if found.frozen else ""
    head = f"rollout of {found.release}: {found.status}, live is {found.live or 'nothing'}{frozen}"
    session.emit(found, "\n".join([head, *(f"  {line}" for line in found.gates), *([found.reason] if found.reason else [])]))
