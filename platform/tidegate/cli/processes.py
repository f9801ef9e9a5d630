"""Commands that start and stop processes: serve, up, down, prune."""

from __future__ import annotations

import click

from tidegate.cli.session import Session, command, dry_run_option, examples


@click.command(epilog=examples("tidegate serve demand@3f2c91a07b5d", "tidegate serve demand@3f2c --port 9000 --dry-run"))
@click.argument("release_id")
@click.option("--port", default=8900, show_default=True, type=click.IntRange(0, 65535), help="Port on the loopback interface.")
@click.option("--slot", default="blue", show_default=True, type=click.Choice(["blue", "green"]), help="Slot named in logs.")
@dry_run_option
@command()
def serve(session: Session, release_id: str, port: int, slot: str, dry_run: bool) -> None:
    """Serve one release in the foreground, without gateway and gates, until interrupted. RELEASE_ID may be shortened.

    A release that was not built here is refused; 'tidegate release sign' signs one that you vouch for.
    """
    platform = session.platform
    if dry_run:
        arguments = platform.serving_arguments(release_id, port, slot)
        session.emit({"command": arguments}, " ".join(arguments))
        return
    platform.admit(platform.release(release_id))
    platform.serve(platform.serving_arguments(release_id, port, slot))


@click.command(epilog=examples("tidegate up", "tidegate up --json"))
@dry_run_option
@command()
def up(session: Session, dry_run: bool) -> None:
    """Start supervisor, gateway and the releases that were live, and leave them running. A second call changes nothing."""
    if dry_run:
        local = session.project.local
        plan = {"gatewayPort": local.gateway_port, "adminPort": local.admin_port, "state": str(session.project.state)}
        session.emit(plan, f"would start the supervisor and the gateway on port {local.gateway_port}, state in {plan['state']}")
        return
    running = session.platform.up(wait=True)
    lines = [f"running (supervisor pid {running.supervisor}); clients call {running.gateway_url}"]
    lines += [f"  {model}: live is {release or 'nothing yet'}" for model, release in running.live.items()]
    lines += ["look: tidegate status    stop: tidegate down"]
    session.emit(running, "\n".join(lines))


@click.command(epilog=examples("tidegate down"))
@dry_run_option
@command()
def down(session: Session, dry_run: bool) -> None:
    """Stop every process, requests in flight finished first. All data stay, and what was live comes back with the next up."""
    session.check_files = False  # a definition that is gone must not keep anyone from stopping
    if dry_run:
        session.emit({"running": session.platform.is_up()}, "would stop" if session.platform.is_up() else "nothing runs")
        return
    stopped = session.platform.down()
    session.emit({"stopped": stopped}, "stopped" if stopped else "nothing was running")


@click.command(epilog=examples("tidegate prune --dry-run", "tidegate prune --json"))
@dry_run_option
@command()
def prune(session: Session, dry_run: bool) -> None:
    """Remove old records of requests, outputs, exports and releases, rotate and compress logs, by `retention` of the project.

    What is live or was, what a rollout under way looks at, and what the ledger names is kept. The supervisor prunes logs
    by itself.
    """
    from tidegate.apps.retention import plan_pruning
    from tidegate.apps.retention import prune as remove

    pruning = plan_pruning(session.project)
    if not dry_run:
        remove(session.project, pruning)
    verb = "would remove" if dry_run else "removed"
    lines = [f"{verb} {len(pruning.going)} files and folders, {pruning.bytes / 1e6:,.1f} MB"]
    lines += [f"  {each.path}: {each.why}" for each in pruning.going]
    lines += [f"  {path}: {'would be' if dry_run else ''} rotated" for path in pruning.rotating]
    lines += [f"  {path}: {'would be' if dry_run else ''} compressed" for path in pruning.compressing]
    session.emit(pruning, "\n".join(lines))
