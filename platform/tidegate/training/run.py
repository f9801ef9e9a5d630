"""The use case behind `tidegate train`: one run of a model's pipeline, compared with the champion, ending in the registry."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tidegate.domain.errors import NotFound, Unavailable
from tidegate.files.layout import StateFolder
from tidegate.ports.pipeline_runs import PipelineRunner, Progress
from tidegate.ports.registry import ModelRegistry, ModelVersion

CHAMPION = "champion"


class GoesOn(Unavailable):
    """The run was left to an endpoint: there is no version yet, and asking again would start another run."""


@dataclass(frozen=True)
class TrainingRequest:
    """`project` is the project file, `data` has a folder a dataset, nothing at or after `until` (UTC) is seen,
    `definitions` is the digest of the code that the run begins with."""

    model: str
    project: Path
    state: Path
    pipeline: Path
    data: Path
    until: datetime
    definitions: str


@dataclass(frozen=True)
class Trained:
    version: ModelVersion
    run_id: str


def train(
    request: TrainingRequest, runner: PipelineRunner, registry: ModelRegistry, progress: Progress | None = None
) -> Trained:
    """Run the pipeline; returns what it registered.

    Raises InvalidInput (data, parameters; names the step), Unavailable (registry, endpoint), GoesOn.
    """
    until = request.until.astimezone(UTC) if request.until.tzinfo else request.until.replace(tzinfo=UTC)
    champion, folder = fetch_champion(registry, request.model, StateFolder(request.state).champions)
    arguments = {
        "project": str(request.project),
        "state": str(request.state),
        "model": request.model,
        "data": str(request.data),
        "until": until.isoformat(),
        "champion": str(folder) if folder else "",
        "champion_version": champion.version if champion else "",
        "definitions": request.definitions,
    }
    run = runner.run(request.pipeline, arguments, progress)
    if not run.finished:
        raise GoesOn(f"training {request.model}: run {run.run_id} goes on at {run.url} and registers its version itself")
    version = registry.get(request.model, str(run.outputs["version"]))
    return Trained(version, run.run_id)


def fetch_champion(registry: ModelRegistry, model: str, folder: Path) -> tuple[ModelVersion | None, Path | None]:
    """The champion's version and its training output below `folder`, verified; (None, None) when there is none."""
    try:
        champion = registry.get(model, CHAMPION)
    except NotFound:
        return None, None
    place = folder / f"{model}-{champion.version}"
    shutil.rmtree(place, ignore_errors=True)
    return champion, registry.fetch(champion, place)
