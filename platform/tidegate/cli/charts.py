"""Commands about the charts of a project: chart export, values."""

from __future__ import annotations

import click

from tidegate.cli.session import Session, command, dry_run_option, examples, model_argument


@click.group(epilog=examples("tidegate chart export", "tidegate chart values demand --image REPOSITORY@sha256:..."))
def chart() -> None:
    """What installs the platform and the models of this project on a cluster: Helm charts, and their values."""


@chart.command(
    epilog=examples("tidegate chart export --image REGISTRY/shop-platform@sha256:...", "tidegate chart export --dry-run")
)
@click.option(
    "--image", default="", metavar="IMAGE", help="The platform's image by digest, as 'tidegate image platform' names it."
)
@click.option("--force", is_flag=True, help="Replace files of a chart that differ from the package's.")
@dry_run_option
@command()
def export(session: Session, image: str, force: bool, dry_run: bool) -> None:
    """Write the package's charts and this project's values to `charts/`, or where `targets.kubernetes` says.

    values/platform.yaml says what the project file decides (models, the largest body of each, schedules) and is written anew
    each time; values/own.yaml and values/MODEL.yaml are written once, and yours from then on.
    """
    from tidegate.apps.charts import export as exported

    made = exported(session.project, image, force)
    if not dry_run:
        made.write()
    values = [path for path in made.files if path.parent == session.project.targets.kubernetes.values]
    lines = [
        f"{'would write' if dry_run else 'wrote'} {len(made.files) - len(values)} files of two charts, and {path}"
        for path in values[:1]
    ]
    lines += [f"{'would write' if dry_run else 'wrote'} {path}" for path in values[1:]]
    lines += [f"left {path} as it is" for path in made.kept]
    value = {"files": list(made.files), "kept": made.kept, "dry_run": dry_run}
    session.emit(value, "\n".join(lines))


@chart.command(epilog=examples("tidegate chart values demand --image REPOSITORY@sha256:... > release.json"))
@model_argument
@click.option("--release", metavar="ID", help="A release of MODEL; by default the one built last.")
@click.option(
    "--image", required=True, metavar="IMAGE", help="The release's image by digest, as 'tidegate image release' names it."
)
@command()
def values(session: Session, model: str | None, release: str | None, image: str) -> None:
    """What `tidegate rollout MODEL --target kubernetes` gives the model's chart, for whoever applies it by other means.

    JSON, which Helm reads as it is: helm upgrade MODEL charts/model -f charts/values/MODEL.yaml -f release.json
    """
    from tidegate.apps.charts import release_values

    session.json = True  # there is no other form
    session.emit(release_values(session.platform, session.model(model), release, image), "")
