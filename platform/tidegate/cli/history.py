"""The command that tells what became of a model: history."""

from __future__ import annotations

from dataclasses import asdict
from itertools import islice

import click

from tidegate.cli.session import Session, clock_time, command, examples, model_argument, moment


@click.command(
    epilog=examples(
        "tidegate history demand", "tidegate history demand --since 2026-11-01 --json", "tidegate history demand -n 5"
    )
)
@model_argument
@click.option("--since", metavar="TIME", help="Only what was done at this time (UTC) or later.")
@click.option("-n", "limit", type=click.IntRange(1), default=50, show_default=True, help="So many events, the newest.")
@command()
def history(session: Session, model: str | None, since: str | None, limit: int) -> None:
    """Who registered, promoted, released, rolled out or took back what of MODEL, when and why; the newest last.

    Read from the ledger, which is verified as far as it is read.
    """
    from tidegate.ledger.history import history as told
    from tidegate.ports.ledger import Query

    name, first = session.model(model), moment(since)
    query = Query(since=first.timestamp() if first else None)
    events = list(islice(told(session.platform.ledger.entries(query, newest_first=True), name), limit))[::-1]
    value = [{**asdict(event), "who": event.who} for event in events]
    lines = [
        f"{clock_time(event.at)}  {event.subject}  {event.what}  by {event.who}" + (f"\n    {event.why}" if event.why else "")
        for event in events
    ]
    session.emit(value, "\n".join(lines) or f"the ledger has nothing about model '{name}' yet")
