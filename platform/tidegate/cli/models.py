"""Commands from training to a release: train, registry, promote, release."""

from __future__ import annotations

import os
import socket
import webbrowser
from pathlib import Path
from typing import Literal

import click

from tidegate.cli.evidence import verdict_text
from tidegate.cli.session import Session, acting, actor_option, command, dry_run_option, examples, model_argument, moment
from tidegate.domain.errors import GateClosed, InvalidInput
from tidegate.domain.verdict import to_json
from tidegate.ports.registry import ModelVersion, version_json

STARTING = 30.0  # seconds in which the network of a new pod has to let it through


def version_text(version: ModelVersion) -> str:
    aliases = f" ({', '.join(version.aliases)})" if version.aliases else ""
    metrics = ", ".join(f"{name} {value:.4g}" for name, value in sorted(version.metrics.items())[:6])
    return f"{version.model} version {version.version}{aliases}  model {version.artifact_digest[:12]}  {metrics}"


@click.command(
    epilog=examples(
        "tidegate train demand", "tidegate train demand --until 2011-06-01 --json", "tidegate train demand --dry-run"
    )
)
@model_argument
@click.option("--until", metavar="TIME", help="Train on data before this time only (UTC); by default all.")
@click.option(
    "--source",
    "sources",
    multiple=True,
    metavar="[DATASET=]PATH",
    help="Another raw file to train on instead; of which dataset, where the model has several.",
)
@dry_run_option
@command()
def train(session: Session, model: str | None, until: str | None, sources: tuple[str, ...], dry_run: bool) -> None:
    """Run the pipeline of MODEL: extract, validate, train, evaluate, register as candidate."""
    name, time = session.model(model), moment(until)
    if dry_run:
        pipeline = session.project.model(name).its_pipeline()
        plan = {"model": name, "pipeline": str(pipeline), "until": time.isoformat() if time else None}
        session.emit(
            plan, f"would run {pipeline} on data before {plan['until'] or 'just after the newest row'} and register a version"
        )
        return
    version = session.platform.train(name, time, _by_dataset(session, name, sources))
    session.emit(version_json(version), f"registered {version_text(version)}")


def _by_dataset(session: Session, model: str, sources: tuple[str, ...]) -> dict[str, list[Path]]:
    """The files of each dataset that `--source` names."""
    datasets = session.project.model(model).datasets
    chosen: dict[str, list[Path]] = {}
    for text in sources:
        name, named, path = text.partition("=")
        if named and name in datasets:
            chosen.setdefault(name, []).append(Path(path))
        elif len(datasets) == 1:
            chosen.setdefault(datasets[0], []).append(Path(text))
        else:
            raise InvalidInput(
                f"--source {text}: write DATASET=PATH; the datasets of '{model}' are {', '.join(datasets) or 'none'}"
            )
    return chosen


@click.command(
    epilog=examples("tidegate retrain --queue redis://redis:6379/0", "tidegate retrain --queue redis://redis:6379/0 --dry-run")
)
@click.option("--queue", required=True, metavar="URL", help="Where the gate service puts requests: redis://HOST:PORT/DB.")
@dry_run_option
@command()
def retrain(session: Session, queue: str, dry_run: bool) -> None:
    """Answer one request for retraining: ingest the sources, run the model's pipeline, register the version.

    Runs in a Job that the platform's chart starts when a verdict saw drift. MLFLOW_TRACKING_URI names the registry. A request
    stays in the queue until its version is registered; --dry-run says what is waiting.
    """
    from tidegate.apps import wiring
    from tidegate.apps.retraining import retrain as answer

    platform, requests = session.platform, wiring.retraining_queue(queue, f"{socket.gethostname()}-{os.getpid()}")
    if dry_run:
        waiting = requests.waiting()
        lines = [f"request {each.id} for {each.release}: {each.reason}" for each in waiting]
        session.emit(waiting, "\n".join(lines) or "nobody asks for retraining")
        return
    requests.await_reachable(STARTING)
    found = answer(platform, requests)
    if found is None:
        session.emit(None, "nobody asks for retraining")
        return
    how = "registered" if found.made_now else "made of the same data before:"
    value = {"request": found.request, "version": version_json(found.version), "made_now": found.made_now}
    session.emit(value, f"request {found.request.id}: {how} {version_text(found.version)}")


@click.group(
    epilog=examples(
        "tidegate registry list demand",
        "tidegate registry show demand champion",
        "tidegate registry reconcile demand --dry-run",
    )
)
def registry() -> None:
    """Model versions, their metrics and aliases (candidate, champion, previous)."""


@registry.command(name="list", epilog=examples("tidegate registry list demand --json"))
@model_argument
@command()
def list_versions(session: Session, model: str | None) -> None:
    """All versions of MODEL."""
    versions = session.platform.registry.versions(session.model(model))
    text = "\n".join(version_text(version) for version in versions) or "no version yet; run 'tidegate train'"
    session.emit([version_json(version) for version in versions], text)


@registry.command(epilog=examples("tidegate registry show demand 3", "tidegate registry show demand candidate --json"))
@click.argument("model")
@click.argument("version")
@command()
def show(session: Session, model: str, version: str) -> None:
    """One VERSION of MODEL, by number or alias."""
    found = session.platform.version(session.model(model), version)
    lines = [
        version_text(found),
        f"  run {found.run_id}",
        *(f"  {key} = {value:g}" for key, value in sorted(found.metrics.items())),
    ]
    lines += [f"  {key}: {value}" for key, value in sorted(found.tags.items())]
    session.emit(version_json(found), "\n".join(lines))


@registry.command(
    epilog=examples("tidegate registry ui", "tidegate registry ui demand champion", "tidegate registry ui demand 3 --port 5001")
)
@click.argument("model", required=False)
@click.argument("version", required=False)
@click.option("--port", default=5000, show_default=True, type=click.IntRange(1, 65535), help="Of 127.0.0.1.")
@click.option("--open", "browse", is_flag=True, help="Open it in this machine's browser, too.")
@command()
def ui(session: Session, model: str | None, version: str | None, port: int, browse: bool) -> None:
    """Serve MLflow's page of the project's registry on 127.0.0.1 until Ctrl-C; the address is that of MODEL, or of its VERSION
    (number or alias).

    Where MLFLOW_TRACKING_URI names a server, its page is there already: its address is printed. MLflow's page has no mode for
    reading alone; what is changed there is in no ledger. 'tidegate registry reconcile' mends aliases.
    """
    from tidegate.apps.registry_page import page_address, serve_page

    name = session.model(model) if model else None
    number = session.platform.version(name, version).version if name and version else None
    address, remote = page_address(port, name, number)

    def opened() -> None:
        session.emit({"address": address, "remote": remote}, address)
        if browse:
            webbrowser.open(address)

    if remote:
        opened()
        return
    session.progress("MLflow's page, until Ctrl-C; it can change what it shows, and no ledger has that")
    serve_page(session.project, port, opened)


@registry.command(epilog=examples("tidegate registry register demand build/training-output --dry-run"))
@click.argument("model")
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@dry_run_option
@command()
def register(session: Session, model: str, folder: Path, dry_run: bool) -> None:
    """Register the training output in FOLDER, made elsewhere, as a version of MODEL."""
    name = session.model(model)
    if dry_run:
        session.emit({"model": name, "folder": str(folder)}, f"would register {folder} as a version of {name}")
        return
    version = session.platform.register_external(name, folder)
    session.emit(version_json(version), f"registered {version_text(version)}")


@registry.command(epilog=examples("tidegate registry accept demand 2 --reason 'trained by us in May' --dry-run"))
@click.argument("model")
@click.argument("version")
@click.option("--reason", required=True, help="Why, for the ledger.")
@actor_option
@dry_run_option
@command()
def accept(session: Session, model: str, version: str, reason: str, actor: str | None, dry_run: bool) -> None:
    """Bind the evidence of VERSION as it lies there now, on your word.

    Only for a version that was registered before digests of whole training outputs were recorded, and only if its files say
    what MLflow recorded of it then. Nothing is promoted by it.
    """
    name = session.model(model)
    if dry_run:
        found = session.platform.version(name, version)
        session.emit(version_json(found), f"would bind the evidence of {version_text(found)} as it lies there now")
        return
    found = session.platform.accept_evidence(name, version, reason, acting(session.platform.whoami, actor))
    session.emit(
        version_json(found), f"bound the evidence of {version_text(found)}; 'tidegate promote {name} {found.version}' judges it"
    )


@registry.command(epilog=examples("tidegate registry reconcile demand", "tidegate registry reconcile demand --dry-run --json"))
@model_argument
@actor_option
@dry_run_option
@command()
def reconcile(session: Session, model: str | None, actor: str | None, dry_run: bool) -> None:
    """Compare registry, ledger and live release of MODEL, and make the registry's aliases follow what is live."""
    found = session.platform.reconcile(session.model(model), dry_run, acting(session.platform.whoami, actor))
    champion = f"version {found.version}" if found.version else "no version"
    head = f"{found.model}: {found.live or 'nothing'} is live, champion is {champion}"
    if not found.differences:
        lines = [head, "  the registry and the ledger agree"]
    else:
        what = "would be mended" if dry_run else "mended"
        lines = [head, *(f"  {what}: {difference}" for difference in found.differences)]
    session.emit(found, "\n".join(lines))


@click.command(
    epilog=examples(
        "tidegate promote demand",
        "tidegate promote demand --approve-by ada --reason 'looked at it'",
        "tidegate promote demand 4 --dry-run",
    )
)
@model_argument
@click.argument("version", default="latest")
@click.option("--approve-by", metavar="NAME", help="Who approves, where the project requires approval.")
@click.option("--reason", metavar="TEXT", help="Why that person approves.")
@dry_run_option
@command()
def promote(
    session: Session, model: str | None, version: str, approve_by: str | None, reason: str | None, dry_run: bool
) -> None:
    """Judge VERSION of MODEL (number, alias or latest) by the offline gates and make it the candidate when all pass.

    Beats the baseline, no worse than the champion, no segment much worse, answers that differ, artifact verified, approved
    where required. With --dry-run the gates are evaluated and nothing is recorded. Exit code 5 when a gate did not pass.
    """
    from tidegate.registry.offline_gates import Approval

    if bool(approve_by) != bool(reason):
        raise click.UsageError("an approval needs a person and a reason: --approve-by NAME --reason TEXT")
    approved = Approval(acting(session.platform.whoami, approve_by), reason) if approve_by and reason else None
    promotion = session.platform.promote(session.model(model), version, approved, dry_run)
    results = [to_json(result) for result in promotion.results]
    lines = [verdict_text(result) for result in results]
    lines.append(f"{promotion.version.model} version {promotion.version.version}: {'passed' if promotion.opens else 'refused'}")
    value = {"version": version_json(promotion.version), "passed": promotion.opens, "dry_run": dry_run, "gates": results}
    session.emit(value, "\n".join(lines))
    if not promotion.opens:
        refused = "; ".join(result.describe() for result in promotion.results if not result.verdict.opens)
        raise GateClosed(f"promotion of {promotion.version.model}/{promotion.version.version} refused: {refused}")


@click.group(
    epilog=examples(
        "tidegate release build demand", "tidegate release list demand", "tidegate release verify demand@3f2c91a07b5d"
    )
)
def release() -> None:
    """What moves together: model, features, serving code, drift thresholds, gates; addressed by the digest of its manifest."""


@release.command(epilog=examples("tidegate release build demand", "tidegate release build demand 4 --dry-run"))
@model_argument
@click.argument("version", required=False)
@dry_run_option
@command()
def build(session: Session, model: str | None, version: str | None, dry_run: bool) -> None:
    """Build a release of VERSION of MODEL (number or alias); drift thresholds are calibrated on its reference profile.

    Without VERSION it is the candidate, or else the champion: after a rollout, what is live with today's serving code.
    """
    name = session.model(model)
    if dry_run:
        found = session.platform.version_to_release(name, version)
        session.emit(version_json(found), f"would build a release of {version_text(found)}")
        return
    manifest = session.platform.build_release(name, version)
    text = f"built {manifest.id} of {name} version {manifest.version}: {len(manifest.files)} files"
    session.emit({"id": manifest.id, "digest": manifest.digest, **manifest.to_json()}, text)


@release.command(name="list", epilog=examples("tidegate release list", "tidegate release list demand --json"))
@model_argument
@command()
def list_releases(session: Session, model: str | None) -> None:
    """The releases of MODEL, or of all models."""
    releases = session.platform.releases.list(session.project.model(model).name if model else None)
    values = [
        {"id": r.id, "digest": r.digest, "version": r.version, "trained_until": r.lineage.trained_until} for r in releases
    ]
    lines = [f"{r.id}  version {r.version}  trained until {r.lineage.trained_until}" for r in releases]
    session.emit(values, "\n".join(lines) or "no release yet; run 'tidegate release build'")


@release.command(name="show", epilog=examples("tidegate release show demand@3f2c91a07b5d --json"))
@click.argument("release_id")
@command()
def show_release(session: Session, release_id: str) -> None:
    """The manifest of a release; RELEASE_ID may be shortened."""
    manifest = session.platform.release(release_id)
    lineage = [f"  {name}: {value}" for name, value in manifest.to_json()["lineage"].items()]
    files = [f"  {digest[:12]}  {name}" for name, digest in manifest.files.items()]
    head = f"{manifest.id} of version {manifest.version}, features '{manifest.feature_service}' {manifest.feature_schema[:12]}"
    session.emit({"id": manifest.id, "digest": manifest.digest, **manifest.to_json()}, "\n".join([head, *lineage, *files]))


@release.command(epilog=examples("tidegate release verify demand@3f2c91a07b5d"))
@click.argument("release_id")
@command()
def verify(session: Session, release_id: str) -> None:
    """Check the digest of every file of a release, and that it may be served: signed by a key that this project trusts.

    A release that the ledger names and that has no signature yet, from before there were signatures, is signed.
    """
    from tidegate.files.release_folder import ignored_files

    releases = session.platform.releases
    manifest = releases.verify(release_id)
    beside = ignored_files(session.platform.admit(manifest), manifest)
    lines = [f"{manifest.id}: {len(manifest.files)} files verified, signed by a trusted key"]
    lines += [f"  {name} is not of the release; nothing uses it, it can be removed" for name in beside]
    session.emit({"id": manifest.id, "files": len(manifest.files), "verified": True, "ignored": beside}, "\n".join(lines))


@release.command(epilog=examples("tidegate release sign demand@3f2c91a07b5d --reason 'rehearsal of a fault, built by hand'"))
@click.argument("release_id")
@click.option("--reason", required=True, help="Why it may be served, for the ledger.")
@actor_option
@dry_run_option
@command()
def sign(session: Session, release_id: str, reason: str, actor: str | None, dry_run: bool) -> None:
    """Vouch for a release that was not built here, put together by hand or brought from elsewhere, so that it may be served."""
    manifest = session.platform.releases.verify(release_id)
    if not dry_run:
        session.platform.sign_release(manifest.digest, reason, acting(session.platform.whoami, actor))
    text = f"{'would sign' if dry_run else 'signed and recorded:'} {manifest.id}"
    session.emit({"id": manifest.id, "signed": not dry_run, "reason": reason}, text)


@release.command(
    epilog=examples(
        "tidegate release export-triton demand@3f2c91a07b5d build/triton",
        "tidegate release export-triton demand@3f2c91a07b5d build/triton --device gpu",
    )
)
@click.argument("release_id")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--device", type=click.Choice(["cpu", "gpu"]), help="Load there and nowhere else; else where Triton finds one.")
@command()
def export_triton(session: Session, release_id: str, folder: Path, device: Literal["cpu", "gpu"] | None) -> None:
    """Write a release into FOLDER as a model repository that a Triton server loads."""
    from tidegate.apps.triton import export

    manifest = session.platform.release(release_id)
    written = export(session.platform.admit(manifest), folder, device)
    session.emit({"id": manifest.id, "folder": str(written)}, f"{manifest.id}: {written}")
