"""A project's datasets: ingested, and opened as the data of a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from tidegate.apps import wiring
from tidegate.domain.errors import InvalidInput, NotFound
from tidegate.domain.project import Project, did_you_mean
from tidegate.files.layout import StateFolder

if TYPE_CHECKING:
    from tidegate.apps.opened import Progress
    from tidegate.data.model_data import ModelData
    from tidegate.data.report import IngestReport

Sources = Mapping[str, Sequence[Path]]  # by dataset, in place of the project's


def dataset_names(project: Project, name: str | None) -> tuple[str, ...]:
    """The dataset of that name, those of the model of that name, or all of the project's; raises NotFound, InvalidInput."""
    if name is None:
        names = tuple(project.datasets)
    elif name in project.datasets:
        names = (name,)
    elif name in project.models:
        names = project.models[name].datasets
    else:
        known = [*project.datasets, *project.models]
        raise NotFound(f"project '{project.name}' has no dataset or model '{name}'; {did_you_mean(name, known)}")
    if not names:
        who = f"model '{name}'" if name else f"project '{project.name}'"
        raise InvalidInput(f"{who} has no dataset; name one under 'datasets' in the project file")
    return names


def ingest_dataset(
    project: Project, name: str, sources: Sequence[Path] | None, folder: Path, progress: Progress
) -> IngestReport:
    """Ingest a dataset's sources, or others in their place, into its folder below `folder`; one process at a time."""
    from tidegate.data.dataset import load_dataset
    from tidegate.data.ingest import ingest
    from tidegate.files.durable_files import locked

    config = project.dataset(name)
    dataset = replace(load_dataset(config.definition), name=name)
    with locked(folder / f".{name}.lock"):
        return ingest(dataset, wiring.dataset_source(config, sources, dataset.csv), folder / name, progress)


def ingest_beside(project: Project, model: str, sources: Sources, progress: Progress) -> Path:
    """Ingest the datasets of a model with other sources, beside the project's data; returns the folder of the datasets."""
    from tidegate.files.digests import files_digest

    names = project.model(model).datasets
    for name, files in sources.items():
        if name not in names:
            raise InvalidInput(f"model '{model}' has no dataset '{name}'; {did_you_mean(name, names)}")
        if missing := [path for path in files if not path.exists()]:
            raise InvalidInput(f"dataset '{name}': there is no file {missing[0]}; name existing raw files")
    chosen = {name: list(sources.get(name) or project.dataset(name).sources) for name in names}
    digest = files_digest([path for files in chosen.values() for path in files])
    folder = StateFolder(project.state).exports / digest[:12]
    for name, files in chosen.items():
        ingest_dataset(project, name, files, folder, progress)
    return folder


def trained_until(project: Project, model: str, folder: Path, until: datetime | None = None) -> tuple[datetime, bool]:
    """Before which moment a training on the data below `folder` looks, by default just after their newest row; and whether the
    data say so: of data without a time it is now."""
    data = model_data(project, model, folder) if project.model(model).datasets else None
    if data is not None and data.newest() is not None:
        return data.checked_until(until), True
    return until or datetime.now(UTC), False


def model_data(project: Project, model: str, folder: Path | None = None) -> ModelData:
    """The ingested data of a model's datasets, below `folder` or the state folder's; raises NotFound."""
    from tidegate.data.model_data import read_data

    return read_data(folder or StateFolder(project.state).all_data, project.model(model).datasets)
