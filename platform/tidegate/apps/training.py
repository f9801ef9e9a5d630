"""Training put together: `train` for commands, and the bodies of the pipeline's components.

A component runs in a process of its own, on this machine or in a pod, and gets nothing but strings: the project file, the state
folder ('' for the project's own), the parameters as JSON and folders of the steps before it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from tidegate.apps import wiring
from tidegate.domain.digests import digest_of
from tidegate.domain.errors import InvalidInput
from tidegate.domain.project import Project
from tidegate.domain.release import Lineage
from tidegate.files.digests import files_digest
from tidegate.files.feature_folder import feature_folder
from tidegate.files.layout import StateFolder
from tidegate.forecasting.parameters import TrainingParameters
from tidegate.training.messages import say, told

if TYPE_CHECKING:
    from tidegate.apps.platform import Platform
    from tidegate.forecasting.evaluation import Champion
    from tidegate.ports.pipeline_runs import PipelineRunner
    from tidegate.ports.registry import ModelVersion

ENDPOINT = "TIDEGATE_KFP_ENDPOINT"  # the address of a Kubeflow Pipelines API; without it, pipelines run on this machine


def train(platform: Platform, model: str, until: datetime | None = None, data: Path | None = None) -> ModelVersion:
    """Run the pipeline of `model` on the ingestion in `data` (or the project's) before `until` (or all whole days)."""
    from tidegate.apps.reconcile import settle
    from tidegate.data.tables import day_after_last, read_lines
    from tidegate.registry.evidence import record_registration
    from tidegate.training.run import TrainingRequest
    from tidegate.training.run import train as run_training

    project = platform.project
    folder = data or StateFolder(project.state).data(model)
    moment = until or day_after_last(read_lines(folder)[0])
    pipeline = project.model(model).pipeline
    request = TrainingRequest(model, project.file, project.state, pipeline, folder, moment)
    settle(platform, model)
    version = run_training(request, pipeline_runner(project), platform.registry, platform.progress).version
    record_registration(platform.ledger, version)
    return version


def pipeline_runner(project: Project) -> PipelineRunner:

    endpoint = os.environ.get(ENDPOINT)
    return wiring.pipeline_runner(project, endpoint)


def extract_step(project: str, state: str, model: str, data: str, until: str, parameters: str, rows: str) -> int:
    """Features of the data before `until`, in a store of this run's own, joined to sampled rows; returns their number."""
    return told(
        lambda: _extract(_project(project, state), model, Path(data), _moment(until), _parameters(parameters), Path(rows))
    )


def _extract(project: Project, model: str, data: Path, until: datetime, parameters: TrainingParameters, out: Path) -> int:
    from tidegate.data.tables import build_tables
    from tidegate.forecasting.steps import extract

    features = project.model(model).features
    with _scratch() as own:
        # A state folder of its own: the model's tables, registry and online store are not touched.
        folder = feature_folder(own, model)
        build_tables(_tables_definition(project, model), data, folder.tables, until, say)
        store = wiring.feature_store(features.repo, folder)
        store.apply()
        count = extract(store, features.service, features.repo, data, until, parameters, out)
    say(f"extracted {count:,} rows with point-in-time features of data before {until:%Y-%m-%d}")
    return count


def validate_step(
    project: str, state: str, model: str, data: str, until: str, parameters: str, rows: str, findings: str
) -> int:
    """Check the rows and that no feature sees the future; returns the number of checks."""

    def body() -> int:
        from tidegate.data.point_in_time import check
        from tidegate.data.tables import load_build, read_lines
        from tidegate.forecasting.steps import validate

        build = load_build(_tables_definition(_project(project, state), model))
        moment = _moment(until)
        sales, returns = (lines.filter(lines["at"] < moment) for lines in read_lines(Path(data)))
        found = validate(Path(rows), moment, _parameters(parameters), lambda: check(build, sales, returns), Path(findings))
        say(f"{len(found)} checks of data and features passed, point-in-time included")
        return len(found)

    return told(body)


def train_step(parameters: str, rows: str, model: str) -> int:
    """Learn the quantile forests; returns the number of rows learned from."""

    def body() -> int:
        from tidegate.forecasting.steps import train as learn

        count = learn(Path(rows), _parameters(parameters), wiring.quantile_learner(), Path(model))
        say(f"learned from {count:,} rows")
        return count

    return told(body)


def evaluate_step(
    project: str,
    state: str,
    model: str,
    data: str,
    until: str,
    parameters: str,
    champion: str,
    champion_version: str,
    pipeline_digest: str,
    run_id: str,
    rows: str,
    trained: str,
    output: str,
) -> str:
    """Rolling origins against baselines and champion; completes the training output and returns evaluation.json's forecasts."""

    def body() -> str:
        from tidegate.forecasting.steps import evaluate

        opened = _project(project, state)
        made_of = lineage(opened, model, Path(data), pipeline_digest, run_id, _moment(until))
        result = evaluate(
            Path(rows),
            Path(trained),
            model,
            _moment(until),
            _parameters(parameters),
            wiring.quantile_learner(),
            _champion(champion, champion_version),
            made_of,
            Path(output),
            say,
        )
        errors = {name: values["wape"] for name, values in result["forecasts"].items() if "wape" in values}
        say("WAPE on rolling origins: " + ", ".join(f"{name} {value:.3f}" for name, value in errors.items()))
        return json.dumps(result["forecasts"], sort_keys=True)

    return told(body)


def register_step(project: str, state: str, model: str, output: str) -> str:
    """Register the training output; returns the version."""

    def body() -> str:
        from tidegate.files.training_output import open_output

        opened = open_output(Path(output))
        tags = {"tidegate.source": "pipeline", "trained_until": opened.lineage.trained_until}
        version = wiring.registry(_project(project, state)).register(model, Path(output), opened.metrics, tags)
        say(f"registered {model} version {version.version}, model {version.artifact_digest[:12]}")
        return version.version

    return told(body)


def _project(file: str, state: str) -> Project:
    from tidegate.adapters.files.project_file import project_with_state

    return project_with_state(Path(file), Path(state) if state else None)


def _parameters(text: str) -> TrainingParameters:
    return TrainingParameters.from_json(text)


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidInput(f"pipeline argument until is '{text}', required a time as 2011-09-01T00:00:00+00:00") from error
    if moment.tzinfo is None:
        raise InvalidInput(f"pipeline argument until is '{text}', required a time with its zone: {text}+00:00")
    return moment


def _tables_definition(project: Project, model: str) -> Path:
    features = project.model(model).features
    return features.repo / f"{features.service}_tables.py"


def _champion(folder: str, version: str) -> Champion | None:
    if not folder:
        return None
    from tidegate.files.training_output import open_output
    from tidegate.forecasting.evaluation import Champion

    output = open_output(Path(folder))
    onnx = (output.folder / "model/model.onnx").read_bytes()
    trained_until = _moment(output.lineage.trained_until)
    return Champion(version, onnx, output.contract.vector, trained_until, output.evaluation)


def lineage(project: Project, model: str, data: Path, pipeline: str, run_id: str, until: datetime) -> Lineage:
    """Digests of what went in; code is the training engine, features the definitions of the feature repository."""
    import tidegate

    package = Path(tidegate.__file__).parent
    config = project.model(model)
    return Lineage(
        data=files_digest([data / "sales.parquet", data / "returns.parquet"]),
        features=files_digest(sorted(config.features.repo.glob("*.py"))),
        code=digest_of(
            {
                "engine": files_digest([package / "forecasting", package / "adapters" / "lightgbm" / "quantiles.py"]),
                "definition": files_digest([config.pipeline]),
            }
        ),
        pipeline=pipeline,
        run_id=run_id,
        trained_until=until.isoformat(),
    )


@contextlib.contextmanager
def _scratch() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="tidegate-features-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
