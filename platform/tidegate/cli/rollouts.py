"""Commands of what is live: rollout, status, doctor, rollback, freeze, unfreeze."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tidegate.cli.clusters import (
    diagnose_cluster,
    emit_outcome,
    on_cluster,
    roll_back_on_cluster,
    show_cluster,
    start_on_cluster,
)
from tidegate.cli.evidence import verdict_text
from tidegate.cli.session import Session, actor_option, command, dry_run_option, examples, model_argument, person
from tidegate.domain.errors import GateClosed, Unavailable
from tidegate.domain.project import nearest

if TYPE_CHECKING:
    from tidegate.rollout.state import Rollout


class StartByDefault(click.Group):
    """`rollout MODEL` means `rollout start MODEL`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ("--help", "-h"):
            close = None if args[0].startswith("-") else nearest(args[0], self.commands)
            project_models = ctx.obj.project.models if close and isinstance(ctx.obj, Session) else ()
            if close and args[0] not in project_models:
                raise click.UsageError(f"no command 'rollout {args[0]}' and no such model; did you mean '{close}'?", ctx)
            args = ["start", *args]
        return super().parse_args(ctx, args)


def target_option(function: click.decorators.FC) -> click.decorators.FC:
    choice = click.Choice(["local", "kubernetes"])
    return click.option("--target", type=choice, default="local", show_default=True, help="Where it runs.")(function)


@click.group(
    cls=StartByDefault,
    epilog=examples(
        "tidegate rollout demand",
        "tidegate rollout demand --release demand@3f2c --dry-run",
        "tidegate rollout demand --target kubernetes --image REPOSITORY@sha256:...",
        "tidegate rollout status demand",
        "tidegate rollout abort demand --reason 'wrong week'",
    ),
)
def rollout() -> None:
    """Make a release live behind its gates: stage, verify, shadow, drift, switch, bake.

    `tidegate rollout MODEL` starts one, or continues the one under way.
    """


@rollout.command(
    epilog=examples("tidegate rollout demand", "tidegate rollout start demand --detach", "tidegate rollout demand --dry-run")
)
@model_argument
@click.option("--release", metavar="ID", help="The release, may be shortened; by default the one built last.")
@click.option("--detach", is_flag=True, help="Do not wait for the end; it goes on by itself.")
@click.option("--override", "overrides", multiple=True, metavar="GATE=REASON", help="Pass this gate on your word.")
@target_option
@click.option("--image", metavar="IMAGE", help="With --target kubernetes: the image that serves the release, by digest.")
@actor_option
@dry_run_option
@command()
def start(
    session: Session,
    model: str | None,
    release: str | None,
    detach: bool,
    overrides: tuple[str, ...],
    target: str,
    image: str | None,
    actor: str | None,
    dry_run: bool,
) -> None:
    """Start the rollout of a release, or join the one under way, and follow it to its end.

    Interrupting this command does not interrupt the rollout; the same command follows it again. Exit code 5 when the release
    did not become live.
    """
    name, platform = session.model(model), session.platform
    passes = dict(_override(text) for text in overrides)
    if target == "kubernetes":
        start_on_cluster(session, name, release, image, person(actor), passes, detach, dry_run)
        return
    if dry_run:
        plan = platform.plan_rollout(name, release)
        session.emit(plan.to_json(), "\n".join(plan.describe()))
        return
    begun = platform.start_rollout(name, release, person(actor), passes)
    if begun is None:
        live = platform.release(platform.live_release(name)).id
        session.emit({"model": name, "live": live, "status": "UNCHANGED"}, f"{live} is live already: nothing to do")
        return
    _follow_to_the_end(session, begun, detach)


def _override(text: str) -> tuple[str, str]:
    gate, _, reason = text.partition("=")
    if not reason.strip():
        raise click.UsageError(f"--override '{text}' lacks a reason; allowed: GATE=REASON")
    return gate, reason


def _follow_to_the_end(session: Session, begun: Rollout, detach: bool = False) -> None:
    """Follow a rollout unless detached, print it; raises GateClosed when it did not do what it was for, Unavailable when the
    registry was not told that it did."""
    found = begun if detach else session.platform.follow(begun.model, begun.id)
    _emit_rollout(session, found)
    if not detach and (found.status.terminal or found.status == "FROZEN") and found.status != "DONE":
        raise GateClosed(f"rollout {found.id} of {found.candidate_id} is {found.status}: {found.reason}")
    if found.status == "DONE":
        _require_told(session, found.model)


def _require_told(session: Session, model: str) -> None:
    from tidegate.cli.status_view import untold_text

    due = session.platform.untold.due(model)
    if due is not None:
        raise Unavailable(f"the rollout is DONE, but not recorded in the registry: it was {untold_text(model, vars(due))}")


def _emit_rollout(session: Session, found: Rollout) -> None:
    from tidegate.apps.model_status import evidence_of

    gates = [verdict_text({**value, "release": ""}) for value in evidence_of(found)]
    head = f"rollout {found.id} of {found.candidate_id}: {found.status}"
    last = found.reason or (found.history[-1]["message"] if found.history else "")
    lines = [head, *(f"  {line}" for gate in gates for line in gate.splitlines()), last, *_next_steps(found)]
    session.emit(found.to_json(), "\n".join(lines))


def _next_steps(found: Rollout) -> list[str]:
    """What a person can do about a rollout that waits for one."""
    if found.status != "FROZEN" or found.undo or found.request:
        return []
    by = str((found.frozen or {}).get("by", ""))
    gate = by.removeprefix("gate ") if by.startswith("gate ") else ""
    past = f"'tidegate rollout override {found.model} {gate} --reason TEXT' lets it past that gate, " if gate else ""
    return [
        f"it is frozen by {by or 'a gate'}: {past}'tidegate unfreeze {found.model} --reason TEXT' lets it go on, "
        f"'tidegate rollout abort {found.model} --reason TEXT' ends it"
    ]


@rollout.command(
    name="status",
    epilog=examples("tidegate rollout status demand", "tidegate rollout status demand --target kubernetes --json"),
)
@model_argument
@target_option
@command()
def rollout_status(session: Session, model: str | None, target: str) -> None:
    """The latest rollout of MODEL, its stage and verdicts so far."""
    if target == "kubernetes":
        emit_outcome(session, on_cluster(session).status(session.model(model)))
        return
    _emit_rollout(session, session.platform.latest_rollout(session.model(model)))


@rollout.command(epilog=examples("tidegate rollout abort demand --reason 'wrong week'"))
@model_argument
@click.option("--reason", required=True, help="Why, for the ledger.")
@target_option
@actor_option
@dry_run_option
@command()
def abort(session: Session, model: str | None, reason: str, target: str, actor: str | None, dry_run: bool) -> None:
    """End the rollout under way; traffic stays with, or returns to, the release that was live before."""
    name = session.model(model)
    if target == "kubernetes":
        cluster = on_cluster(session)
        emit_outcome(session, cluster.status(name) if dry_run else cluster.abort(name, reason, person(actor)))
        return
    if dry_run:
        _emit_rollout(session, session.platform.latest_rollout(name))
        return
    _emit_rollout(session, session.platform.orders(person(actor)).abort(name, reason))


@rollout.command(epilog=examples("tidegate rollout override demand drift --reason 'Christmas, known' --by ada"))
@click.argument("model")
@click.argument("gate")
@click.option("--reason", required=True, help="Why, for the ledger.")
@target_option
@actor_option
@dry_run_option
@command()
def override(session: Session, model: str, gate: str, reason: str, target: str, actor: str | None, dry_run: bool) -> None:
    """Let the rollout of MODEL past GATE on a person's word; recorded in the ledger with who and why."""
    name = session.model(model)
    if target == "kubernetes" and not dry_run:
        on_cluster(session).override(name, gate, reason, person(actor))
        session.emit({"model": name, "gate": gate, "reason": reason}, f"overridden: gate '{gate}' of the release under way")
        return
    if dry_run:
        session.emit({"model": name, "gate": gate}, f"would let the rollout under way past gate '{gate}'")
        return
    found = session.platform.override(name, gate, reason, person(actor))
    _emit_rollout(session, found)
    if not session.json and found.status == "RUNNING":
        click.echo(f"it goes on without gate {gate}; 'tidegate rollout {name} --release {found.candidate_id}' follows it")


@click.command(epilog=examples("tidegate status", "tidegate status demand --json", "tidegate status --target kubernetes"))
@model_argument
@click.option("--drift/--no-drift", default=True, help="Whether to compare live traffic with the reference; locally.")
@target_option
@command()
def status(session: Session, model: str | None, drift: bool, target: str) -> None:
    """What is live, since when, on what evidence, which rollout is under way, what is drifting, and whether it is frozen."""
    models = [session.project.model(model).name] if model else list(session.project.models)
    if target == "kubernetes":
        show_cluster(session, models)
        return
    found = [session.platform.status(name, drift) for name in models]

    def show() -> None:
        from tidegate.cli.status_view import status_table

        for each in found:
            session.console.print(status_table(each))

    session.emit(found, show)


@click.command(epilog=examples("tidegate doctor", "tidegate doctor --json"))
@command()
def doctor(session: Session) -> None:
    """Look for what is missing or wrong in the cluster of the target 'kubernetes', and say how to mend it.

    Looks only, and changes nothing. Exit code 7 when something is wrong.
    """
    diagnose_cluster(session)


@click.command(
    epilog=examples(
        "tidegate rollback demand --reason 'orders look wrong'",
        "tidegate rollback demand --to demand@3f2c91a07b5d --reason 'the one of June'",
        "tidegate rollback demand --dry-run --reason test",
    )
)
@model_argument
@click.option("--reason", required=True, help="Why, for the ledger.")
@click.option("--to", "to", metavar="RELEASE", help="Another release that was live once, though it was taken back.")
@target_option
@actor_option
@dry_run_option
@command()
def rollback(
    session: Session, model: str | None, reason: str, to: str | None, target: str, actor: str | None, dry_run: bool
) -> None:
    """Go back to the last good release that was live before, now, without gates; a rollout under way is ended.

    A release that was itself taken back, by a person or a gate, is passed over: --to RELEASE goes back to it all the same.
    """
    name, platform = session.model(model), session.platform
    if target == "kubernetes":
        roll_back_on_cluster(session, name, reason, person(actor), dry_run, (to or "").rpartition("@")[2])
        return
    if dry_run:
        live = platform.release(platform.live_release(name)).id
        back = platform.goes_back_to(name, to)
        where = back.id if back else "nothing: it is the first release"
        session.emit({"model": name, "from": live, "to": back.id if back else None}, f"would go back from {live} to {where}")
        return
    ordered = platform.rollback(name, reason, person(actor), to)
    found = platform.follow(name, ordered.id)
    _emit_rollout(session, found)
    if found.status not in ("DONE", "ROLLED_BACK"):
        raise GateClosed(f"rollback of {name}: {found.id} is {found.status}: {found.reason}")
    _require_told(session, name)


@click.command(epilog=examples("tidegate freeze demand --reason 'stocktaking'"))
@model_argument
@click.option("--reason", required=True, help="Why, for the ledger and for whoever meets the freeze.")
@target_option
@actor_option
@dry_run_option
@command()
def freeze(session: Session, model: str | None, reason: str, target: str, actor: str | None, dry_run: bool) -> None:
    """Let no rollout of MODEL start or switch until it is unfrozen; what is live stays live."""
    name = session.model(model)
    if not dry_run:
        orders = on_cluster(session) if target == "kubernetes" else session.platform
        orders.freeze(name, reason, person(actor))
    session.emit(
        {"model": name, "frozen": not dry_run, "reason": reason}, f"{'would freeze' if dry_run else 'frozen:'} {name}: {reason}"
    )


@click.command(epilog=examples("tidegate unfreeze demand --reason 'stocktaking is over'"))
@model_argument
@click.option("--reason", required=True, help="Why, for the ledger.")
@target_option
@actor_option
@dry_run_option
@command()
def unfreeze(session: Session, model: str | None, reason: str, target: str, actor: str | None, dry_run: bool) -> None:
    """Lift the freeze of MODEL; a rollout that was frozen goes on."""
    name, going = session.model(model), None
    if not dry_run:
        orders = on_cluster(session) if target == "kubernetes" else session.platform
        going = orders.unfreeze(name, reason, person(actor))
    follow = (
        f"; rollout {going.id} goes on, 'tidegate rollout {name} --release {going.candidate_id}' follows it" if going else ""
    )
    value = {"model": name, "frozen": False, "dry_run": dry_run, "rollout": going.id if going else None}
    session.emit(value, f"{'would lift the freeze of' if dry_run else 'unfrozen:'} {name}{follow}")
