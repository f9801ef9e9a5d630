"""Commands from raw files to features: ingest, features."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tidegate.apps.freshness import span
from tidegate.cli.session import Session, command, dry_run_option, examples, model_argument, moment
from tidegate.domain.contract import FeatureContract
from tidegate.domain.errors import InvalidInput, TidegateError
from tidegate.files.feature_folder import feature_folder
from tidegate.files.layout import StateFolder

if TYPE_CHECKING:
    from tidegate.data.report import IngestReport


@click.command(
    epilog=examples(
        "tidegate ingest",
        "tidegate ingest online_retail --source more.parquet --json",
        "tidegate ingest online_retail --dry-run",
    )
)
@click.argument("name", required=False, metavar="[DATASET|MODEL]")
@click.option(
    "--source",
    "sources",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Another raw file, or a folder of them, in place of the project's.",
)
@dry_run_option
@command()
def ingest(session: Session, name: str | None, sources: tuple[Path, ...], dry_run: bool) -> None:
    """Take what is new of the raw data of DATASET, of MODEL's datasets or of all, and sort the rows into their classes.

    Rows that are refused are kept in the quarantine, each with a reason.
    """
    from tidegate.apps.datasets import dataset_names

    names = dataset_names(session.project, name)
    if sources and len(names) > 1:
        raise InvalidInput(f"--source is of one dataset; name one of {', '.join(names)}")
    if dry_run:
        plans = [
            {
                "dataset": each,
                "sources": [str(path) for path in sources or session.project.dataset(each).sources],
                "target": str(StateFolder(session.project.state).data(each)),
            }
            for each in names
        ]
        text = "\n".join(f"would read {', '.join(plan['sources'])} and replace {plan['target']}" for plan in plans)
        session.emit(plans[0] if len(plans) == 1 else plans, text)
        return
    reports = [session.platform.ingest(each, sources or None) for each in names]
    text = "\n".join(_counted(report) for report in reports)
    session.emit(reports[0] if len(reports) == 1 else reports, text)


def _counted(report: IngestReport) -> str:
    lines = [
        f"{report.dataset}: {report.rows_in:,} rows in: "
        + ", ".join(f"{count:,} {kind}" for kind, count in report.counts.items())
    ]
    lines += [
        f"  quarantine {reason}: {count:,}" for reason, count in sorted(report.reasons.items(), key=lambda item: -item[1])
    ]
    if report.first and report.last:
        lines.append(f"  from {report.first[:16].replace('T', ' ')} to {report.last[:16].replace('T', ' ')}")
    return "\n".join(lines)


@click.group(
    epilog=examples(
        "tidegate features refresh demand",
        "tidegate features build demand --until 2011-09-01",
        "tidegate features show demand 85123A",
    )
)
def features() -> None:
    """Define, build, materialize and inspect the features of a model."""


def _until(function: Any) -> Any:
    text = "Use data before this time only (UTC); by default all."
    return click.option("--until", metavar="TIME", help=text)(function)


@features.command(
    epilog=examples(
        "tidegate features refresh demand",
        "tidegate features refresh demand --until 2011-09-01 --json",
        "tidegate features refresh demand --store http://mlflow:5000",
        "tidegate features refresh demand --dry-run",
    )
)
@model_argument
@_until
@click.option("--entities", default=200, show_default=True, type=click.IntRange(1, 100_000), help="How many to check.")
@click.option(
    "--store",
    metavar="URL",
    envvar="TIDEGATE_STORE",
    help="Also store the tables in this MLflow server, where a cluster's gate service reads them.",
)
@dry_run_option
@command()
def refresh(session: Session, model: str | None, until: str | None, entities: int, store: str | None, dry_run: bool) -> None:
    """Take what is new of the raw data of MODEL to the online store: ingest, build, apply, materialize, check.

    What schedules run. It can be repeated and interrupted at any time. Where a step fails, tables, definitions and online rows
    are what they were before; the exit code is that step's, 5 where the check found a difference or values that are too old.
    """
    from tidegate.apps.refresh import planned
    from tidegate.apps.refresh import refresh as refreshed

    name, time = session.model(model), moment(until)
    if dry_run:
        steps = planned(session.platform, name, store)
        session.emit({"model": name, "until": _iso(time), "steps": steps}, f"would run: {', '.join(steps)}")
        return
    found = refreshed(session.platform, name, time, entities, store)
    session.emit(found, "\n".join(f"{step.outcome:<9}  {step.name}  {step.said}".rstrip() for step in found.steps))
    if found.error is not None:
        raise found.error


@features.command(epilog=examples("tidegate features apply demand", "tidegate features apply --dry-run"))
@model_argument
@dry_run_option
@command()
def apply(session: Session, model: str | None, dry_run: bool) -> None:
    """Register the Feast definitions of MODEL."""
    name = session.model(model)
    repo = session.project.model(name).its_features().repo
    if dry_run:
        session.emit({"model": name, "repo": str(repo)}, f"would register the definitions below {repo}")
        return
    services = session.platform.apply_features(name)
    remarks = session.platform.feature_store(name).remarks()
    lines = [f"registered; feature services: {', '.join(services)}", *(f"  {remark}" for remark in remarks)]
    session.emit({"model": name, "services": list(services), "remarks": remarks}, "\n".join(lines))


@features.command(epilog=examples("tidegate features build demand", "tidegate features build demand --until 2011-09-01T06:00"))
@model_argument
@_until
@dry_run_option
@command()
def build(session: Session, model: str | None, until: str | None, dry_run: bool) -> None:
    """Compute the feature tables of MODEL from its ingested data."""
    name, time = session.model(model), moment(until)
    if dry_run:
        plan = {"model": name, "until": _iso(time), "target": str(feature_folder(session.project.state, name).tables)}
        session.emit(
            plan, f"would compute the feature tables before {_iso(time) or 'just after the newest row'} in {plan['target']}"
        )
        return
    report = session.platform.build_features(name, time)
    tables = "\n".join(f"  {table}: {rows:,} rows" for table, rows in report.rows.items())
    session.emit(report, f"tables of {report.entities:,} entities before {report.until}\n{tables}")


@features.command(epilog=examples("tidegate features materialize demand --until 2011-09-01"))
@model_argument
@_until
@dry_run_option
@command()
def materialize(session: Session, model: str | None, until: str | None, dry_run: bool) -> None:
    """Bring the online store to what was known at a time."""
    name, time = session.model(model), moment(until)
    if dry_run:
        plan = {"model": name, "until": _iso(time), "onlineStore": session.project.local.online_store}
        session.emit(plan, f"would bring the online store ({plan['onlineStore']}) to {_iso(time) or 'the newest rows'}")
        return
    from tidegate.apps.freshness import missing_views

    written = session.platform.materialize(name, time)
    missing = missing_views(session.platform.freshness(name))
    lines = [f"{written:,} entities written to the online store", *(f"  {sentence}" for sentence in missing)]
    session.emit({"model": name, "entities": written, "missing": missing}, "\n".join(lines))


@features.command(epilog=examples("tidegate features show demand", "tidegate features show demand 85123A 22423 --json"))
@click.argument("model")
@click.argument("entities", nargs=-1)
@command()
def show(session: Session, model: str, entities: tuple[str, ...]) -> None:
    """The contract of MODEL's feature service and, for ENTITIES, what the online store holds."""
    name = session.model(model)
    contract = session.platform.contract(name)
    if not entities:
        fresh, remark = _freshness(session, name)
        shown = {**contract.to_json(), "schema_digest": contract.schema_digest, "freshness": fresh}
        session.emit(shown, "\n".join([_contract_text(contract), *map(_fresh_text, fresh), *remark]))
        return
    _emit_features(session, session.platform.online_features(name, entities))


@features.command(
    "get",
    epilog=examples(
        "tidegate features get demand 85123A",
        "tidegate features get demand 85123A --at 2011-06-01 --json",
        "tidegate features get delays carrier=AA,flight=12",
    ),
)
@click.argument("model")
@click.argument("keys", nargs=-1, required=True, metavar="KEY...")
@click.option(
    "--at", "at", metavar="TIME", help="As it was known then (UTC), by the feature tables; by default what is served now."
)
@command()
def get(session: Session, model: str, keys: tuple[str, ...], at: str | None) -> None:
    """The stored features of each KEY, now or at a past moment. A key of several parts is written as carrier=AA,flight=12, or
    as JSON."""
    name, time = session.model(model), moment(at)
    found = session.platform.features_at(name, keys, time) if time else session.platform.online_features(name, keys)
    _emit_features(session, found)


def _emit_features(session: Session, rows: dict[str, dict[str, Any]]) -> None:
    lines = []
    for row in rows.values():
        key = (
            " ".join(f"{name}={part}" for name, part in row["key"].items()) if len(row["key"]) > 1 else row["key"].popitem()[1]
        )
        lines.append(f"{key}  {'known at ' + str(row['event_timestamp']) if row['found'] else 'no features are known'}")
        lines += [f"  {feature} = {_value(value)}" for feature, value in row["values"].items()]
    session.emit(rows, "\n".join(lines))


def _freshness(session: Session, name: str) -> tuple[list[dict[str, Any]], list[str]]:
    """How fresh each view's online rows are, or a remark that nothing can be said of them."""
    try:
        return session.platform.freshness(name), []
    except TidegateError as error:
        return [], [f"online: {error}"]


def _fresh_text(view: dict[str, Any]) -> str:
    newest = f", the newest of {view['newest'][:16].replace('T', ' ')}" if view["newest"] else ""
    gone = f", past its TTL of {span(view['ttl_seconds'])}: all its values are missing" if view["missing"] else ""
    return f"online: {view['view']} up to {view['until'][:16].replace('T', ' ')}, {view['rows']:,} rows{newest}{gone}"


def _value(value: Any) -> str:
    return "missing" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _contract_text(contract: FeatureContract) -> str:
    key = ", ".join(f"{part.name} ({part.datatype})" for part in contract.key)
    lines = [f"service '{contract.service}' of {key}, schema {contract.schema_digest[:12]}"]
    for view, names in contract.stored.items():
        about = [f"by {', '.join(contract.view_keys[view])}"] if view in contract.view_keys else []
        about += [f"a value holds {span(contract.ttl[view])}"] if view in contract.ttl else []
        typed = [f"{name} ({datatype})" if (datatype := contract.types.get(f"{view}__{name}")) else name for name in names]
        lines.append(f"  {view}{' (' + ', '.join(about) + ')' if about else ''}: {', '.join(typed)}")
    if contract.on_demand:
        lines.append(f"  on demand ({contract.on_demand}): {', '.join(contract.derived)}")
    return "\n".join([*lines, f"request: {', '.join(contract.request) or 'nothing'}"])


@features.command(epilog=examples("tidegate features check demand --entities 500"))
@model_argument
@click.option("--entities", default=200, show_default=True, type=click.IntRange(1, 100_000), help="How many to compare.")
@command()
def check(session: Session, model: str | None, entities: int) -> None:
    """Recompute what the online store holds by the offline path, and compare value by value."""
    from tidegate.cli.evidence import emit_results

    emit_results(session, [session.platform.check_features(session.model(model), entities)])


def _iso(time: datetime | None) -> str | None:
    return time.isoformat() if time else None
