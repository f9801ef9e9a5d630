"""The command that scores a file of rows: predict."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tidegate.cli.session import Session, command, dry_run_option, examples


@click.command(
    epilog=examples(
        "tidegate predict demand --input keys.parquet --output forecasts.parquet",
        "tidegate predict lead_time --input orders.csv --output days.parquet --release lead_time@3f2c --json",
        "tidegate predict demand --input keys.parquet --output forecasts.parquet --dry-run",
    )
)
@click.argument("model")
@click.option("--input", "source", required=True, type=click.Path(path_type=Path), help="Parquet or CSV file of rows.")
@click.option("--output", required=True, type=click.Path(path_type=Path), help="Parquet file to write.")
@click.option("--release", metavar="ID", help="Another release than the live one; may be shortened.")
@click.option("--restart", is_flag=True, help="Begin anew where an earlier run left parts.")
@dry_run_option
@command()
def predict(
    session: Session, model: str, source: Path, output: Path, release: str | None, restart: bool, dry_run: bool
) -> None:
    """Score every row of a file by the code that serves MODEL.

    The input has a column for each join key and each input that requests bring, by their names; its other columns are kept. The
    output has the model's outputs beside them, and `error` where a row has none. Memory is bounded by a batch; a run that was
    cut off goes on where it was.
    """
    from tidegate.apps.batch import opened
    from tidegate.apps.batch import predict as run

    name = session.model(model)
    if dry_run:
        with opened(session.platform, name, source, output, release) as (work, rows):
            plan: dict[str, Any] = {"release": work.manifest.id, "input": str(source), "rows": rows.rows, "output": str(output)}
            plan |= {"columns": work.batches.types, "makes": list(work.batches.made)}
        many = f"{rows.rows:,} rows" if rows.rows is not None else "the rows"
        session.emit(plan, f"would score {many} of {source} by {plan['release']} into {output}")
        return
    result = run(session.platform, name, source, output, release, restart)
    failed = f", {result.failed:,} without a prediction (see column 'error')" if result.failed else ""
    resumed = f", {result.resumed} of {result.parts} parts from an earlier run" if result.resumed else ""
    session.emit(result, f"{result.output}: {result.rows:,} rows by {result.release}{failed}{resumed}")
