"""Commands that show why: drift, gate, replay, ledger."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from tidegate.cli.session import Session, clock_time, command, dry_run_option, examples, model_argument, moment
from tidegate.domain.errors import GateClosed, IntegrityError, NotFound
from tidegate.domain.formats import document
from tidegate.domain.verdict import GateResult, to_json
from tidegate.ports.ledger import Entry, Line, Query, Verification

if TYPE_CHECKING:
    from tidegate.adapters.files.ledger_file import FileLedger

COLOURS = {"PASS": "green", "FAIL": "red", "INCONCLUSIVE": "yellow", "ERROR": "magenta"}


def verdict_text(value: dict[str, Any], findings: int = 8) -> str:
    """A verdict for people: a line, and the findings that are not in order."""
    evidence = value["evidence"]
    verdict = click.style(f"{value['verdict']:<12}", fg=COLOURS.get(value["verdict"]), bold=True)
    lines = [f"{verdict} {value['gate']:<24} {value['release']}  {evidence['summary']}"]
    wrong = [finding for finding in evidence["findings"] if not finding["ok"]]
    for finding in wrong[:findings]:
        observed = "" if finding["observed"] is None else f" {finding['observed']:.6g}"
        lines.append(f"    {finding['subject']}:{observed} (required {finding['required']}) {finding['note']}".rstrip())
    if len(wrong) > findings:
        lines.append(f"    and {len(wrong) - findings} more (--json shows all)")
    return "\n".join(lines)


def emit_results(session: Session, results: Sequence[GateResult]) -> None:
    """Print verdicts; raises GateClosed when one is not PASS."""
    values = [to_json(result) for result in results]
    session.emit(values, "\n".join(verdict_text(value) for value in values))
    closed = [result for result in results if not result.verdict.opens]
    if closed:
        raise GateClosed("; ".join(result.describe() for result in closed))


@click.command(epilog=examples("tidegate drift demand", "tidegate drift demand --release demand@3f2c --json"))
@model_argument
@click.option("--release", metavar="ID", help="A release; by default the live one.")
@command()
def drift(session: Session, model: str | None, release: str | None) -> None:
    """Compare the latest rows that a release of MODEL was given, in each window of their data, with its reference profile.

    Windows are as long as `watch.every` of the monitor file says, a week by default. Exit code 5 when the latest one drifted,
    or too little was seen to say.
    """
    watched = session.platform.drift(session.model(model), release)
    values = [{**to_json(each.result), "window": each.window, "advice": each.advice} for each in watched]
    windows = [
        f"window of {value['window'] or '(no traffic)'}\n{verdict_text(value)}\n    {value['advice']}" for value in values
    ]
    session.emit(values, "\n".join(windows))
    if not watched or not watched[-1].result.verdict.opens:
        raise GateClosed(watched[-1].result.describe() if watched else "no traffic was seen")


@click.command(
    epilog=examples(
        "tidegate monitor --records redis://redis:6379/0 --store http://mlflow:5000",
        "tidegate monitor --records redis://redis:6379/0 --store http://mlflow:5000 --every 60 --dry-run",
    )
)
@click.option("--records", required=True, metavar="URL", help="The inference log, where reports go too: redis://HOST:PORT/DB.")
@click.option("--store", required=True, metavar="URL", help="The MLflow server whose artifact store has the releases.")
@click.option("--every", "every_seconds", default=300.0, show_default=True, type=click.FloatRange(1), help="Seconds.")
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8080, show_default=True, type=click.IntRange(1, 65535))
@dry_run_option
@command()
def monitor(session: Session, dry_run: bool, **given: Any) -> None:
    """Watch what the live releases of a cluster see for drift, until it is stopped.

    Runs in a pod that the platform's chart installs. Verdicts are shown to Prometheus and reported to the gate service, which
    records them and asks for retraining where the world has moved.
    """
    from tidegate.apps.monitor import MonitorSettings, serve_monitor

    settings = MonitorSettings(**given)
    if dry_run:
        session.emit(settings, f"would watch {', '.join(session.project.models)} every {settings.every_seconds:g} s")
        return
    serve_monitor(session.project, settings)


@click.group(
    epilog=examples("tidegate gate show demand", "tidegate gate show demand parity --json", "tidegate gate run demand shadow")
)
def gate() -> None:
    """Verdicts of gates, with their evidence."""


@gate.command(epilog=examples("tidegate gate show demand", "tidegate gate show demand parity --last 3"))
@click.argument("model")
@click.argument("name", required=False)
@click.option("--last", default=10, show_default=True, type=click.IntRange(1), help="How many, newest last.")
@command()
def show(session: Session, model: str, name: str | None, last: int) -> None:
    """The latest recorded verdicts on releases of MODEL, of all gates or the one named."""
    verdicts = session.platform.verdicts(session.model(model), name)[-last:]
    if not verdicts:
        of = f" of gate '{name}'" if name else ""
        raise NotFound(f"model '{model}' has no recorded verdict{of}; 'tidegate ledger list' shows what was recorded")
    session.emit(verdicts, "\n".join(f"{clock_time(value['at'])}  {verdict_text(value)}" for value in verdicts))


@gate.command(name="run", epilog=examples("tidegate gate run demand drift", "tidegate gate run demand parity --json"))
@click.argument("model")
@click.argument("name")
@click.option("--minutes", default=15.0, show_default=True, type=click.FloatRange(0.1), help="Look at traffic this recent.")
@command()
def run_gate(session: Session, model: str, name: str, minutes: float) -> None:
    """Evaluate gate NAME on what is on the slots of MODEL now. Nothing is changed or recorded.

    The candidate is the release on the slot that is not active; without one, the live release is judged.
    """
    emit_results(session, [session.platform.run_gate(session.model(model), name, minutes * 60)])


@gate.command(
    name="serve",
    epilog=examples(
        "tidegate gate serve --namespace models --records redis://redis:6379/0 --store http://mlflow:5000 "
        "--gateway http://tidegate-gateway-pods:8082"
    ),
)
@click.option("--namespace", required=True, help="Where the models' Rollouts are.")
@click.option("--records", required=True, metavar="URL", help="The inference log: redis://HOST:PORT/DB.")
@click.option("--store", required=True, metavar="URL", help="The MLflow server whose artifact store has releases and features.")
@click.option("--registry", default="", metavar="URL", help="The MLflow server whose aliases follow what is live.")
@click.option("--gateway", required=True, metavar="URL", help="The gateway's pods and the port of their metrics.")
@click.option("--release", default="tidegate", show_default=True, help="Name that the platform's chart is installed under.")
@click.option(
    "--keys-of-models/--own-keys-only",
    default=False,
    help="Whether a key that a model's chart was given lets its own gates run, beside those of project file and environment.",
)
@click.option(
    "--schedules", default="", metavar="NAMESPACE", help="Whose scheduled work is shown to Prometheus; by default none."
)
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8080, show_default=True, type=click.IntRange(1, 65535))
@dry_run_option
@command()
def serve_gates(session: Session, dry_run: bool, **given: Any) -> None:
    """Answer a cluster's analyses with the verdicts of this project's gates, until it is stopped.

    Runs in a pod that the platform's chart installs; it also keeps the ledger, and mirrors live traffic to a release while it
    is judged. It takes no orders: freezes and overrides are annotations of the Rollout.
    """
    from tidegate.apps.gate_service import GateServerSettings
    from tidegate.apps.gate_service import serve_gates as serve

    settings = GateServerSettings(**given)
    where = f"{settings.host}:{settings.port}"
    if dry_run:
        session.emit(settings, f"would answer for {', '.join(session.project.models)} of {settings.namespace} on {where}")
        return
    serve(session.project, settings)


@click.command(epilog=examples("tidegate replay 1c2f7a", "tidegate replay 1c2f7a --json"))
@click.argument("request_id")
@click.option("--lines", default=5, show_default=True, type=click.IntRange(0), help="Rows of data shown for each entity.")
@command()
def replay(session: Session, request_id: str, lines: int) -> None:
    """Recompute the prediction that answered REQUEST_ID (header x-request-id) from its release, to the bit.

    Features are recomputed by the offline path, the model is the release's own, and the rows behind them are listed.
    """
    found = session.platform.replay(request_id)
    result = found.result
    text = [
        f"request {result.request_id} answered by {result.release} ({found.slot}) at {clock_time(found.at)}",
        f"  {result.describe()}",
        f"  model version {found.version}, run {found.lineage.run_id}, data {found.lineage.data[:12]}, "
        f"trained until {found.lineage.trained_until}",
    ]
    for source in found.sources:
        text.append(f"  {source.entity}: {source.count:,} rows before {source.known_at}, the latest of them")
        text += [f"    {_row_of_data(line)}" for line in source.latest[:lines]]
    session.emit(found, "\n".join(text))
    if not result.identical:
        raise IntegrityError(f"replay: {result.describe()}")


def _row_of_data(row: Mapping[str, Any]) -> str:
    values = [f"{name} {value}" for name, value in row.items() if name not in ("class", "source", "source_row")]
    return f"{row['class']}: {', '.join(values)}  ({row['source']} row {row['source_row']})"


@click.group(epilog=examples("tidegate ledger list --last 20", "tidegate ledger verify"))
def ledger() -> None:
    """The append-only, tamper-evident record of promotions, verdicts, rollouts and overrides."""


@ledger.command(
    name="list",
    epilog=examples(
        "tidegate ledger list --action verdict --last 5", "tidegate ledger list --actor ada --since 2026-01-31 --json"
    ),
)
@click.option("--last", default=20, show_default=True, type=click.IntRange(1), help="How many, newest last.")
@click.option("--action", help="Only actions that start with this: verdict, promotion, rollout, override.")
@click.option("--subject", help="Only subjects that contain this: a model, a release, a rollout.")
@click.option("--actor", help="Only what this actor did, by name or identity.")
@click.option("--since", help="Only entries since this day or time (UTC, by the clock of people).")
@click.option("--until", help="Only entries before this day or time.")
@command()
def list_entries(session: Session, last: int, action: str | None, subject: str | None, **about: str | None) -> None:
    """The latest entries; what does not verify is marked, whatever the filter. Exit code 6 when the ledger does not verify."""
    ledger = _begun(session)
    query = Query(actor=about["actor"], since=_seconds(about["since"]), until=_seconds(about["until"]))
    matching = (line for line in ledger.lines() if line.problem or _matches(line.entry, query, action, subject))
    lines = list(deque(matching, maxlen=last))
    values = [{"line": line.number, "problem": line.problem, **_entry_json(line.entry)} for line in lines]
    session.emit(values, "\n".join(map(_line_text, lines)) or "no entries")
    _require_sound(ledger.verify())


@ledger.command(epilog=examples("tidegate ledger verify", "tidegate ledger verify --json"))
@command()
def verify(session: Session) -> None:
    """Check the chain of hashes and the signed head: finds an edited, deleted, reordered or truncated entry.

    A ledger that does not know this state folder's rollouts is not theirs. With `ledger.checkpoint` in the project file, it is
    compared with what was noted elsewhere: that alone finds one that was written anew, or put back from an older copy.
    """
    from tidegate.apps.trust import waiting_remarks

    verification = _begun(session).verify()
    waiting = waiting_remarks(session.project, list(session.project.models))
    lines = [f"{verification.entries} entries, head {verification.head[:12]}: verified"]
    lines += [verification.checkpoint or "only in itself: no `ledger.checkpoint` is set to compare it with", *waiting]
    session.emit({**asdict(verification), "waiting": waiting}, "\n".join(lines) if verification.ok else "")
    _require_sound(verification)


def _begun(session: Session) -> FileLedger:
    """The ledger of the project; raises NotFound where there is none, and nothing that should be in one."""
    ledger = session.platform.ledger
    if not ledger.begun and ledger.check().ok:
        what = "no ledger in it yet; the first promotion begins one" if session.project.state.is_dir() else "no such folder"
        raise NotFound(f"ledger of {session.project.state}: {what}")
    return ledger


def _require_sound(verification: Verification) -> None:
    if not verification.ok:
        raise IntegrityError(f"ledger: {verification.problem}")


def _entry_json(entry: Entry | None) -> dict[str, Any]:
    return {} if entry is None else {**asdict(entry), **{name: document(getattr(entry, name)) for name in ("author", "by")}}


def _seconds(text: str | None) -> float | None:
    found = moment(text)
    return None if found is None else found.timestamp()


def _matches(entry: Entry | None, query: Query, action: str | None, subject: str | None) -> bool:
    if entry is None or not query.matches(entry):
        return False
    return (action is None or entry.action.startswith(action)) and (subject is None or subject in entry.subject)


def _when(entry: Entry) -> str:
    try:
        return clock_time(entry.at)
    except (ValueError, OverflowError, OSError):  # of a line that does not verify
        return f"{entry.at!r:.23}"


def _line_text(line: Line) -> str:
    mark = click.style(f"\n       DOES NOT VERIFY: {line.problem}", fg="red", bold=True) if line.problem else ""
    e = line.entry
    if e is None:
        return f"{line.number:>5}  (no entry){mark}"
    body = json.dumps(e.body, ensure_ascii=False)
    return f"{e.sequence:>5}  {_when(e)}  {e.action:<22} {e.subject}  by {e.who}  {_cut(body, 110)}{mark}"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
