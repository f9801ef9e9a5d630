"""`python -m demo.models MODEL`: the story of one model, told on a copy of the project's definitions."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from demo.models import anomaly, lead_time, returns
from demo.models.case import ROOT
from tidegate.cli.main import main
from tidegate.cli.session import Session, command, dry_run_option, examples

TALES = {tale.case.model: tale for tale in (lead_time.TALE, returns.TALE, anomaly.TALE)}


@click.command(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
    epilog=examples(
        "python -m demo.models lead_time",
        "python -m demo.models returns --keep",
        "python -m demo.models anomaly --folder build/demo-anomaly --json",
    ),
)
@click.argument("model", type=click.Choice(list(TALES)))
@click.option("--folder", type=click.Path(path_type=Path), help="Where everything goes; by default build/demo-MODEL.")
@click.option("--keep", is_flag=True, help="Leave the platform running at the end.")
@dry_run_option
@command()
def models(session: Session, model: str, folder: Path | None, keep: bool, dry_run: bool) -> None:
    """Tell the story of one model on real data under real load: raw data, a first version, a second one, a faulty one.

    It works on a copy of the definitions, project/ below the folder, and has a state folder of its own, state/ beside it.
    """
    target = folder or ROOT / "build" / f"demo-{model.replace('_', '-')}"
    if dry_run:
        session.emit({"folder": str(target)}, f"would tell the story of {model} and leave demo.json in {target}")
        return
    from demo.models.story import tell
    from demo.narration import Narrator

    facts = tell(TALES[model], target, Narrator(sys.stderr) if session.json else None, keep)
    session.emit(facts, lambda: None)


if __name__ == "__main__":
    main(models, "python -m demo.models")
