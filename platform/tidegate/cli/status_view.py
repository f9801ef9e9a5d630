"""`tidegate status` for people."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import click
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from tidegate.apps.model_status import FIRST
from tidegate.cli.session import ago, clock_time
from tidegate.ports.delivery import FROZEN, RolloutView, Standing
from tidegate.rollout.admission import OVERRIDDEN

STYLES = {"PASS": "green", "FAIL": "bold red", "INCONCLUSIVE": "yellow", "ERROR": "bold magenta", OVERRIDDEN: "bold yellow"}
SHOWN = 5


def status_table(status: Standing, now: float | None = None) -> Panel:
    """One model: a row for each question it answers."""
    now = time.time() if now is None else now
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    table.add_row("live", _live(status, now))
    if status.origin_note and status.origin != "rollout":
        table.add_row("", Text(status.origin_note))
    for verdict in status.evidence:
        table.add_row("evidence" if verdict is status.evidence[0] else "", _verdict(verdict))
    if status.live and not status.evidence and FIRST not in status.origin_note:
        table.add_row("evidence", Text("none on record", style="yellow"))
    table.add_row("rollout", _rollout(status.rollout, now))
    for slot in status.slots:
        traffic = "" if slot.completed is None else f"  {slot.completed:,} requests, {slot.errors_5xx:,} errors (5xx)"
        table.add_row(slot.slot, f"{slot.release or 'empty'}  {slot.ready}/{slot.wanted} ready{traffic}")
    if status.features is not None:
        table.add_row("features", _features(status.features, now))
        for sentence in status.features.get("missing", ()):
            table.add_row("", Text(sentence, style="bold red"))
    table.add_row("drift", _drift(status.drift) if status.drift else Text(status.drift_note))
    table.add_row("frozen", _frozen(status.frozen, now))
    if status.registry is not None:
        table.add_row("registry", Text(pending_text(status.model, status.registry), style="bold yellow"))
    for remark in status.ledger:
        table.add_row("ledger" if remark is status.ledger[0] else "", Text(remark, style="bold red"))
    if status.problem:
        table.add_row("note", Text(status.problem, style="yellow"))
    return Panel(table, title=f"[bold]{status.model}[/bold]", title_align="left", expand=True)


def _live(status: Standing, now: float) -> Text:
    if not status.live:
        return Text("nothing yet; build a release and start its rollout", style="yellow")
    since = f" since {clock_time(status.since)} ({ago(status.since, now)})" if status.since else ""
    return Text.assemble(
        (status.live, "bold cyan"),
        f"  version {status.version}, trained until {status.trained_until}, slot {status.slot}{since}",
    )


def _verdict(value: Mapping[str, Any], more: Text | None = None) -> Table:
    """Verdict, gate and what it rests on, each in its column, so that long words wrap below themselves."""
    text = Text(str(value["evidence"]["summary"]))
    row = Table.grid(padding=(0, 1))
    row.add_column(width=12, no_wrap=True, style=STYLES.get(value["verdict"], ""))
    row.add_column(min_width=8, no_wrap=True)
    row.add_column(ratio=1)
    row.add_row(str(value["verdict"]), str(value["gate"]), text.append_text(more) if more else text)
    return row


def _rollout(rollout: RolloutView | None, now: float) -> Text:
    if rollout is None or not rollout.under_way:
        return Text("none under way")
    stages = Text()
    for stage in rollout.stages:
        stages.append(f"{stage} ", style="bold reverse" if stage == rollout.stage else "dim")
    started = f", {ago(rollout.stage_at, now)}" if rollout.stage_at else ""
    head = f"{rollout.id}  {rollout.release}  {rollout.status}{started}  "
    return Text.assemble(head, stages, f"\n{rollout.message}")


def pending_text(model: str, due: Mapping[str, Any], place: str = "") -> str:
    """The registry's pending update, and what to do; `place` is where the model runs, where that is not this machine."""
    what = f"version {due['version']} ({due['release']}) is live" if due["version"] else "what is live"
    why = f" ({due['reason']})" if due["reason"] else ""
    if place:
        return f"does not have that {what}{why}; the gate service updates it once it can"
    return (
        f"does not have that {what}{why}; it is updated while the platform runs and answers, or now by "
        f"'tidegate registry reconcile {model}'"
    )


def _features(features: Mapping[str, Any], now: float) -> Text:
    if features["until"] is None:
        return Text("of an earlier version: their age is not known; run 'tidegate features materialize'", style="yellow")
    written = f"written {clock_time(features['written_at'])} ({ago(features['written_at'], now)})"
    return Text(f"online rows up to {features['until'][:16].replace('T', ' ')}, {written}, {features['rows']:,} entities")


def _drift(drift: Mapping[str, Any]) -> Table:
    text = Text()
    wrong = [finding for finding in drift["evidence"]["findings"] if not finding["ok"]]
    for finding in wrong[:SHOWN]:
        observed = "" if finding["observed"] is None else f" {finding['observed']:.3g}"
        text.append(f"\n{finding['subject']}:{observed} (required {finding['required']}) {finding['note']}")
    if len(wrong) > SHOWN:
        text.append(f"\nand {len(wrong) - SHOWN} more; see 'tidegate drift'")
    if drift["advice"] and drift["verdict"] != "INCONCLUSIVE":
        text.append(f"\n{drift['advice']}", style="italic")
    return _verdict({**drift, "gate": f"window of {drift['window']}" if drift["window"] else ""}, text)


def _frozen(frozen: Mapping[str, Any] | None, now: float) -> Text:
    if frozen is None:
        return Text("no")
    return Text(f"by {frozen['by'] or 'a gate'}, {ago(frozen['at'], now)}: {frozen['reason']}", style="bold yellow")


def standing_text(found: Standing) -> str:
    """The latest rollout: what it is of and how it stands, its gates, why, and what to do about it."""
    from tidegate.cli.evidence import verdict_text

    rollout = found.rollout or RolloutView("", "")
    live = f", live is {found.live or 'nothing'}" if rollout.under_way else ""
    gates = [f"  {line}" for value in rollout.gates for line in verdict_text({**value, "release": ""}).splitlines()]
    said = [found.reason] if found.reason else []
    return "\n".join([f"{found.name}: {found.status}{live}{_held(found)}", *gates, *said, *rollout.next_steps])


def place_text(found: Standing) -> str:
    """A model where other than this machine it runs."""
    lines = [click.style(f"{found.model} in {found.place}", bold=True), f"  live     {found.live or 'nothing'}"]
    lines += [f"  pods     {pods.release} {pods.slot}: {pods.ready} of {pods.wanted} ready" for pods in found.slots]
    lines += [f"  scaled   by {found.scaled_by}"]
    if found.rollout is not None:
        reason = f": {found.reason}" if found.reason else ""
        lines += [f"  rollout  {found.release} {found.status}{reason}{_held(found)}"]
        lines += [f"           {value['verdict']} {value['gate']}" for value in found.rollout.gates]
    if found.registry is not None:
        lines += [f"  registry {pending_text(found.model, found.registry, found.place)}"]
    if found.problem:
        lines += [f"  note     {found.problem}"]
    return "\n".join(lines)


def _held(found: Standing) -> str:
    """A freeze that holds the model, where the rollout's own status does not say it."""
    if found.frozen is None or found.status == FROZEN:
        return ""
    return f"; frozen by {found.frozen['by']}: {found.frozen['reason']}"
