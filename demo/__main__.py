"""`python -m demo`: the whole story, told on the project that is found here or in a folder above."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from tidegate.cli.main import main
from tidegate.cli.session import Session, command, dry_run_option, examples


@click.command(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
    epilog=examples("python -m demo", "python -m demo --folder build/demo --json"),
)
@click.option(
    "-C",
    "--project",
    type=click.Path(path_type=Path),
    help="Project file or folder; by default tidegate.yaml here or in a folder above.",
)
@click.option("--folder", type=click.Path(path_type=Path), help="Where everything goes; by default build/demo of the project.")
@click.option("--keep", is_flag=True, help="Leave the platform running at the end.")
@dry_run_option
@command()
def demo(session: Session, project: Path | None, folder: Path | None, keep: bool, dry_run: bool) -> None:
    """Tell the whole story on real data under real load: train, roll out, refuse, roll back, retrain, replay.

    It has a state folder of its own, state/ below the folder; look at it afterwards with TIDEGATE_STATE=build/demo/state.
    """
    session.project_path = project
    target = folder or session.project.root / "build" / "demo"
    if dry_run:
        session.emit({"folder": str(target)}, f"would run the whole story and leave report.html and demo.json in {target}")
        return
    from demo.narration import Narrator
    from demo.story import tell

    facts = tell(session.project, target, Narrator(sys.stderr) if session.json else None, keep)
    session.emit(facts, lambda: None)


if __name__ == "__main__":
    main(demo, "python -m demo")
