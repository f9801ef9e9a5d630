"""The command that shows two versions side by side."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from tidegate.cli.session import Session, command, examples

if TYPE_CHECKING:
    from tidegate.apps.comparison import Comparison

SHOWN = 12  # segments; --json has all


@click.command(epilog=examples("tidegate compare demand champion latest", "tidegate compare demand 3 5 --json"))
@click.argument("model")
@click.argument("before")
@click.argument("after", default="latest")
@command()
def compare(session: Session, model: str, before: str, after: str) -> None:
    """Show versions BEFORE and AFTER of MODEL (numbers, aliases or latest) side by side.

    What both lose on the same rows, in all and by segment; each one's own metrics; the features that one reads and the other
    does not; and what differs of what they were made of. Nothing is judged: 'tidegate promote' does that.
    """
    found = session.platform.compare(session.model(model), before, after)
    session.emit(found, "\n".join(_text(found)))


def _text(found: Comparison) -> Iterator[str]:
    yield f"{found.model} version {found.before} and version {found.after}"
    same = found.same_rows
    if same is None:
        yield f"  no loss on the same rows: {found.apart}"
    else:
        bound = "" if same.upper is None else f", at most {same.upper:.3f} with 95% confidence"
        yield f"  {same.loss} on {same.rows:,} rows of version {found.after}: {same.before:.4g} and {same.after:.4g}"
        yield f"    {same.ratio:.3f} of the loss before{bound}{f'; {same.remark}' if same.remark else ''}"
        by_change = sorted(same.segments.items(), key=lambda item: -abs(item[1].after - item[1].before) * item[1].rows)
        for name, segment in by_change[:SHOWN]:
            yield f"    {name:<32} {segment.before:>12.4g} {segment.after:>12.4g}  {segment.rows:,} rows"
    yield "  metrics, each on its own rows"
    for name, values in found.metrics.items():
        yield f"    {name:<32} " + " ".join(f"{'-' if value is None else format(value, '.4g'):>12}" for value in values)
    for what, names in (("added", found.features_added), ("removed", found.features_removed)):
        if names:
            yield f"  features {what}: {', '.join(names)}"
    if found.inputs_changed:
        yield f"  inputs of one alone: {', '.join(found.inputs_changed)}"
    yield "  made of" if found.lineage else "  made of the same"
    for key, (was, now) in found.lineage.items():
        short = 25 if key == "trained_until" else 12  # a time, or a digest
        yield f"    {key:<32} {was[:short] or '-':>12} {now[:short] or '-':>12}"
