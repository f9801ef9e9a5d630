"""Commands of what is live: rollout, status, doctor, rollback, freeze, unfreeze."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tidegate.cli.session import Session, acting, actor_option, command, dry_run_option, examples, model_argument
from tidegate.domain.errors import GateClosed, Unavailable
from tidegate.domain.project import TARGETS, nearest

if TYPE_CHECKING:
    from tidegate.ports.delivery import Delivery, Standing


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
    choice = click.Choice(TARGETS)
    return click.option("--target", type=choice, default=TARGETS[0], show_default=True, help="Where it runs.")(function)


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
    """Make a release live behind its gates: stage, verify, shadow, switch, bake.

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
    name, delivery = session.model(model), session.delivery(target)
    passes = dict(_override(text) for text in overrides)
    if dry_run:
        plan = delivery.plan(name, release)
        session.emit(plan.to_json(), "\n".join(plan.describe()))
        return
    if delivery.capabilities.needs_image and not image:
        raise click.UsageError(f"--target {target} needs --image, the image that serves the release, by digest")
    begun = delivery.start(name, release, acting(delivery.whoami(), actor), passes, image, session.progress)
    if begun.status == "UNCHANGED":
        session.emit(begun, begun.reason)
        return
    found = begun if detach else delivery.follow(name, begun.id, session.progress)
    _emit(session, found)
    if not detach and found.went_wrong:
        raise GateClosed(f"{found.name} is {found.status}: {found.reason}")
    if found.status == "DONE":
        require_recorded(found)


def _override(text: str) -> tuple[str, str]:
    gate, _, reason = text.partition("=")
    if not reason.strip():
        raise click.UsageError(f"--override '{text}' lacks a reason; allowed: GATE=REASON")
    return gate, reason


def require_recorded(found: Standing) -> None:
    """Raises Unavailable when the registry was not told what the rollout did."""
    from tidegate.cli.status_view import pending_text

    if found.registry is not None:
        pending = pending_text(found.model, found.registry)
        raise Unavailable(f"the rollout is {found.status}, but not recorded in the registry: it {pending}")


def _emit(session: Session, found: Standing) -> None:
    from tidegate.cli.status_view import standing_text

    session.emit(found, standing_text(found))


@rollout.command(
    name="status",
    epilog=examples("tidegate rollout status demand", "tidegate rollout status demand --target kubernetes --json"),
)
@model_argument
@target_option
@command()
def rollout_status(session: Session, model: str | None, target: str) -> None:
    """The latest rollout of MODEL, its stage and verdicts so far."""
    _emit(session, session.delivery(target).standing(session.model(model)))


@rollout.command(epilog=examples("tidegate rollout abort demand --reason 'wrong week'"))
@model_argument
@click.option("--reason", required=True, help="Why, for the ledger.")
@target_option
@actor_option
@dry_run_option
@command()
def abort(session: Session, model: str | None, reason: str, target: str, actor: str | None, dry_run: bool) -> None:
    """End the rollout under way; traffic stays with, or returns to, the release that was live before."""
    name, delivery = session.model(model), session.delivery(target)
    _emit(session, delivery.standing(name) if dry_run else delivery.abort(name, reason, acting(delivery.whoami(), actor)))


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
    if dry_run:
        session.emit({"model": name, "gate": gate}, f"would let the rollout under way past gate '{gate}'")
        return
    delivery = session.delivery(target)
    found = delivery.override(name, gate, reason, acting(delivery.whoami(), actor))
    _emit(session, found)
    if not session.json and found.status == "RUNNING":
        click.echo(f"it goes on without gate {gate}; {_follows(delivery, found)}")


def _follows(delivery: Delivery, found: Standing) -> str:
    return f"'tidegate rollout {found.model}{delivery.capabilities.options} --release {found.release}' follows it"


@click.command(epilog=examples("tidegate status", "tidegate status demand --json", "tidegate status --target kubernetes"))
@model_argument
@click.option("--drift/--no-drift", default=True, help="Whether to compare live traffic with the reference; locally.")
@target_option
@command()
def status(session: Session, model: str | None, drift: bool, target: str) -> None:
    """What is live, since when, on what evidence, which rollout is under way, what is drifting, and whether it is frozen."""
    models = [session.project.model(model).name] if model else list(session.project.models)
    delivery = session.delivery(target)
    found = [delivery.overview(name, drift) for name in models]

    def show() -> None:
        from tidegate.cli.status_view import place_text, status_table

        for each in found:
            if each.place:
                click.echo(place_text(each))
            else:
                session.console.print(status_table(each))

    session.emit(found, show)


@click.command(epilog=examples("tidegate doctor", "tidegate doctor --json"))
@command()
def doctor(session: Session) -> None:
    """Look for what is missing or wrong in the cluster of the target 'kubernetes', and say how to mend it.

    Looks only, and changes nothing. Exit code 7 when something is wrong.
    """
    from tidegate.apps.doctor import diagnose

    checks = diagnose(session.project)
    lines = []
    for each in checks:
        mark = click.style("ok   ", fg="green") if each.ok else click.style("WRONG", fg="red", bold=True)
        lines.append(f"{mark} {each.subject}: {each.observed}" + ("" if each.ok else f"\n      {each.fix}"))
    session.emit(checks, "\n".join(lines))
    if wrong := [each.subject for each in checks if not each.ok]:
        raise Unavailable(f"{len(wrong)} of {len(checks)} checks found something wrong: {', '.join(wrong)}")


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
    name, delivery = session.model(model), session.delivery(target)
    if dry_run:
        back = delivery.rollback_target(name, to)
        where = back.to or "nothing: it is the first release"
        value = {"model": name, "from": back.live, "to": back.to}
        session.emit(value, f"would go back from {back.live or 'nothing'} to {where}")
        return
    found = delivery.rollback(name, reason, acting(delivery.whoami(), actor), to, session.progress)
    _emit(session, found)
    if found.status not in delivery.capabilities.ways_back:
        raise GateClosed(f"rollback of {name}: {found.name} is {found.status}: {found.reason}")
    require_recorded(found)


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
        delivery = session.delivery(target)
        delivery.freeze(name, reason, acting(delivery.whoami(), actor))
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
    name, going, follow = session.model(model), None, ""
    if not dry_run:
        delivery = session.delivery(target)
        going = delivery.unfreeze(name, reason, acting(delivery.whoami(), actor))
        follow = f"; rollout {going.id} goes on, {_follows(delivery, going)}" if going else ""
    value = {"model": name, "frozen": False, "dry_run": dry_run, "rollout": going.id if going else None}
    session.emit(value, f"{'would lift the freeze of' if dry_run else 'unfrozen:'} {name}{follow}")
