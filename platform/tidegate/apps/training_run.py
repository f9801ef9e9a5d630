"""One run of a training pipeline, as its components see it: what they are given, the code they run, and the general steps.

A component runs in a process of its own, on this machine or in a pod, and gets nothing but strings. `Run` is these strings and
what they mean; `step` calls a function of the pipeline's own modules with it. Those modules are compiled from sources that
were read once (`code`), and where the run was given the digest of all definitions, a step that finds others than the run began
with stops: what the lineage says is what every step ran.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tidegate.apps import wiring
from tidegate.domain.contract import FeatureContract
from tidegate.domain.digests import digest_of
from tidegate.domain.errors import Conflict, InvalidInput
from tidegate.domain.project import ModelConfig, Project
from tidegate.domain.release import Lineage
from tidegate.files.digests import files_digest
from tidegate.files.feature_folder import feature_folder
from tidegate.files.source_code import Sources
from tidegate.training.messages import reported, say
from tidegate.training.output import write_features

if TYPE_CHECKING:
    import polars as pl

    from tidegate.data.model_data import ModelData
    from tidegate.domain.verdict import Finding
    from tidegate.files.training_output import TrainingOutput
    from tidegate.ports.features import FeatureStore


@dataclass(frozen=True)
class Run:
    """What a component is given: a pipeline hands on what it takes of these.

    `project` is the project file, `state` a state folder ('' for the project's own), `data` the folder of ingested data,
    `until` an ISO time with its zone, `champion` the folder of the champion's training output ('' for none), `definitions` the
    digest of all definitions when the run began ('' where the pipeline does not take it), `parameters` a JSON object.
    """

    project: str
    model: str
    state: str = ""
    data: str = ""
    until: str = ""
    champion: str = ""
    champion_version: str = ""
    pipeline_digest: str = ""
    definitions: str = ""
    run_id: str = ""
    parameters: str = "{}"

    @cached_property
    def opened(self) -> Project:
        from tidegate.adapters.files.project_file import project_with_state

        return project_with_state(Path(self.project), Path(self.state) if self.state else None)

    @property
    def config(self) -> ModelConfig:
        return self.opened.model(self.model)

    @cached_property
    def code(self) -> Sources:
        return code(self.opened, self.model)

    @cached_property
    def moment(self) -> datetime:
        """Nothing at or after it is seen."""
        return instant("pipeline argument until", self.until)

    @cached_property
    def settings(self) -> Mapping[str, Any]:
        """The parameters; raises InvalidInput unless they are a JSON object."""
        try:
            value = json.loads(self.parameters)
        except ValueError as error:
            raise InvalidInput(f"pipeline parameters are no JSON object ({error})") from error
        if not isinstance(value, dict):
            raise InvalidInput(f"pipeline parameters are {type(value).__name__}, required a JSON object")
        return value

    @cached_property
    def champion_output(self) -> TrainingOutput | None:
        from tidegate.files.training_output import open_output

        return open_output(Path(self.champion)) if self.champion else None


def code(project: Project | str | Path, model: str) -> Sources:
    """The Python files of the folder that the model's pipeline lies in, read now; `.module('steps.py')` runs one of them."""
    if not isinstance(project, Project):
        from tidegate.adapters.files.project_file import load_project

        project = load_project(Path(project))
    return Sources.of(project.model(model).its_pipeline().parent)


def definitions(project: Project, model: str) -> str:
    """One digest of the code that a training of the model runs: its pipeline's folder, and the feature repository."""
    return digest_of({"code": code(project, model).digest, "features": features_digest(project.model(model))})


def features_digest(config: ModelConfig) -> str:
    """Of the feature repository, and of the folder of the tables' definition where that is another; that of nothing for a model
    without features."""
    if config.features is None:
        return digest_of({})
    repo, tables = config.features.repo, config.features.tables_definition.parent
    found = files_digest(sorted(repo.glob("*.py")))
    return found if tables == repo else digest_of({"repo": found, "tables": files_digest(sorted(tables.glob("*.py")))})


def step(run: Run, function: str, *arguments: Any) -> Any:
    """Call `FILE.py:FUNCTION` of the pipeline's modules as FUNCTION(run, *arguments), and return what it returns.

    An expected error (`tidegate.api.training.InvalidInput` and its kin) is said in one line, and ends the process.
    """

    def body() -> Any:
        _require_same_definitions(run)
        result = _function(run.code, function)(run, *arguments)
        _require_same_definitions(run)
        return result

    return reported(body)


def _function(sources: Sources, name: str) -> Any:
    file, _, function = name.partition(":")
    try:
        found = getattr(sources.module(file), function, None)
    except FileNotFoundError as error:
        raise InvalidInput(f"step '{name}' of the pipeline: {error}") from error
    if not callable(found):
        raise InvalidInput(f"step '{name}' of the pipeline: {sources.root / file} has no function '{function}'")
    return found


def _require_same_definitions(run: Run) -> None:
    if run.definitions and (found := definitions(run.opened, run.model)) != run.definitions:
        raise Conflict(
            f"training {run.model}: the definitions of its pipeline or features have digest {found[:12]}, required "
            f"{run.definitions[:12]}, as when the run began; they were edited meanwhile: train again"
        )


class RunFeatures:
    """The model's features of data before `until`, in a store that this run alone has."""

    def __init__(self, store: FeatureStore, config: ModelConfig) -> None:
        features = config.its_features()
        self._store, self._repo = store, features.repo
        self.contract: FeatureContract = store.contract(features.service)

    def historical(self, rows: pl.DataFrame) -> pl.DataFrame:
        """`rows` with the vector's columns, point-in-time correct: the same rows in the same order, or InvalidInput."""
        found = self._store.historical(self.contract, rows)
        if not found.select(rows.columns).equals(rows):
            raise InvalidInput(
                f"training: the feature store answered {len(found)} rows to {len(rows)}, or others than asked for"
            )
        return found

    def write(self, folder: Path) -> None:
        """`features/` below `folder`: the contract and the modules that it names, for `write_output` of a later step."""
        write_features(folder, self.contract, self._repo)


@contextmanager
def historical_features(run: Run) -> Iterator[RunFeatures]:
    """Tables of the data before `until`, built and registered in a scratch folder that ends with the block: the model's own
    tables, registry and online store are not touched."""
    from tidegate.data.tables import build_tables

    own = Path(tempfile.mkdtemp(prefix="tidegate-features-"))
    try:
        folder = feature_folder(own, run.model)
        features = run.config.its_features()
        if features.tables_definition.is_file():  # a repository may bring tables of its own
            build_tables(features.tables_definition, _data(run), folder.tables, run.moment, say)
        store = wiring.feature_store(features.repo, folder, service=features.service)
        store.apply()
        yield RunFeatures(store, run.config)
    finally:
        shutil.rmtree(own, ignore_errors=True)


def read_rows(run: Run, kind: str) -> pl.DataFrame:
    """The ingested rows of class `kind`; raises InvalidInput. They may be later than `until`: the caller leaves those out."""
    import polars as pl

    from tidegate.data.model_data import class_files

    files = class_files(Path(run.data), run.config.datasets)
    if kind not in files:
        raise InvalidInput(f"training {run.model}: its datasets have no class '{kind}'; their classes are {', '.join(files)}")
    try:
        return pl.read_parquet(files[kind])
    except (pl.exceptions.PolarsError, OSError) as error:
        raise InvalidInput(f"training {run.model}: {files[kind]} cannot be read ({error}); ingest again") from error


def point_in_time(run: Run, key: Sequence[str] = ()) -> list[Finding]:
    """Whether a feature sees its own future (tidegate.data.point_in_time); never empty. With the columns of the model's key
    (`contract.key`), of a sample of its values alone."""
    from tidegate.data.point_in_time import check
    from tidegate.data.tables_definition import load_build
    from tidegate.domain.verdict import Finding

    build = load_build(run.config.its_features().tables_definition)
    found = check(build, _data(run).known_before(run.moment), key)
    return found or [Finding("point-in-time", None, "a finding", False, "the check found nothing to compare")]


def lineage(run: Run) -> Lineage:
    """Digests of what went in: the data, the feature definitions, the code of all steps, the compiled pipeline."""
    from tidegate.data.model_data import data_digest

    datasets = run.config.datasets
    return Lineage(
        data=data_digest(Path(run.data), datasets) if datasets else digest_of({}),
        features=features_digest(run.config),
        code=run.code.digest,
        pipeline=run.pipeline_digest,
        run_id=run.run_id,
        trained_until=run.moment.isoformat(),
    )


def register(run: Run, output: Path | str) -> str:
    """Register the training output; returns the version."""
    from tidegate.apps.model_check import check_output, decide_tensors
    from tidegate.files.training_output import open_output

    what = f"registering a version of {run.model}"
    decide_tensors(Path(output), what)
    opened = open_output(Path(output))
    check_output(opened, what)
    tags = {"tidegate.source": "pipeline", "trained_until": opened.lineage.trained_until}
    version = wiring.registry(run.opened).register(run.model, Path(output), opened.metrics, tags)
    say(f"registered {run.model} version {version.version}, model {version.artifact_digest[:12]}")
    return version.version


def register_step(run: Run, output: str) -> Any:
    """`register` as a component's whole body."""
    return reported(lambda: register(run, output))


def instant(what: str, text: str) -> datetime:
    """A time with its zone; raises InvalidInput."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidInput(f"{what} is '{text}', required a time as 2011-09-01T00:00:00+00:00") from error
    if moment.tzinfo is None:
        raise InvalidInput(f"{what} is '{text}', required a time with its zone: {text}+00:00")
    return moment


def _data(run: Run) -> ModelData:
    from tidegate.data.model_data import read_data

    return read_data(Path(run.data), run.config.datasets)
