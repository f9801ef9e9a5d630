"""The command that makes a project: init."""

from __future__ import annotations

from pathlib import Path

import click

from tidegate.cli.session import Session, command, dry_run_option, examples


@click.command(
    epilog=examples("tidegate init bikes", "tidegate init work/bikes --name rentals", "tidegate init bikes --dry-run")
)
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--name", metavar="NAME", help="The project's name; by default that of the folder.")
@dry_run_option
@command()
def init(session: Session, folder: Path, name: str | None, dry_run: bool) -> None:
    """Make a project in FOLDER: a small working model on real data, with its features, pipeline, service, gates and tests.

    Its README says in two commands how to bring it to a live endpoint, and which file to change for what.
    """
    from tidegate.apps.new_project import planned_files, write

    chosen, made = planned_files(folder, name)
    names = [str(path.relative_to(folder)) for path in made]
    value = {"project": chosen, "folder": str(folder), "files": names}
    if dry_run:
        session.emit(value, f"would make project {chosen} of {len(names)} files in {folder}: {', '.join(names)}")
        return
    write(made)
    session.emit(value, f"made project {chosen} in {folder}: {len(names)} files; go on with {folder / 'README.md'}")
