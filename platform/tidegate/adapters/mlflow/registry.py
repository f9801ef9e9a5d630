"""MLflow as the registry of models (`ports.registry.ModelRegistry`).

A version's run holds two things: `model/`, an MLflow model of the ONNX flavour with its signature (what MLflow's own tools
read), and `output/`, the training output as it was (what `fetch` brings back). No pickle is written or read. The digests of
`model/model.onnx` and of the whole output are kept as tags, and checked on what was downloaded.

Tracking is SQLite in the given folder, or an MLflow server (MLFLOW_TRACKING_URI). A server that does not answer and a database
that is locked are one Unavailable within seconds: MLflow's own default would try for minutes. A registry that has no model of
the name though `known` says that the platform has it is another one or was emptied, and is refused: nothing is looked up there
and nothing is registered.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from tidegate.adapters.mlflow.database import check_unlocked, create, settle_waiting
from tidegate.adapters.vendor_imports import settle_mlflow
from tidegate.domain.digests import digest_of
from tidegate.domain.errors import InvalidInput, NotFound, TidegateError, Unavailable
from tidegate.files.digests import file_digest
from tidegate.files.release_folder import CONTRACT, MODEL
from tidegate.files.training_folder import CARD, LINEAGE, output_digest
from tidegate.ports.registry import DIGEST_TAG, OUTPUT_TAG, ModelVersion, check_digests, refuse_pruned

OUTPUT, FLAVOUR = "output", "model"
MAX_NOTE = 4500
Result = TypeVar("Result")


class MlflowModelRegistry:
    """`folder` holds mlflow.db and artifacts/ unless `tracking_uri` (or MLFLOW_TRACKING_URI) names a server.

    `known` says of a model whether there are releases or rollouts of it, so that it has to be registered.
    """

    def __init__(self, folder: Path, tracking_uri: str | None = None, known: Callable[[str], bool] = lambda _: False) -> None:
        self._folder = folder.resolve()
        self._known = known
        self._database = self._folder / "mlflow.db"
        self._uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{self._database}"

    def register(self, model: str, folder: Path, metrics: Mapping[str, float], tags: Mapping[str, str]) -> ModelVersion:
        if not (folder / MODEL).is_file() or not (folder / CONTRACT).is_file():
            raise InvalidInput(f"registering {model}: {folder} is no training output, required {MODEL} and {CONTRACT}")
        digest = file_digest(folder / MODEL)
        question = lambda: self._register(model, folder, metrics, dict(tags), digest)  # noqa: E731 - a closure over the arguments
        return self._ask(f"registering {model}", model, question, may_create=True)

    def _register(
        self, model: str, folder: Path, metrics: Mapping[str, float], tags: dict[str, str], digest: str
    ) -> ModelVersion:
        from mlflow.exceptions import MlflowException

        client = self._client
        self._exists(model)
        all_tags = {**tags, DIGEST_TAG: digest, OUTPUT_TAG: output_digest(folder), **_lineage_tags(folder)}
        run = client.create_run(self._experiment(model), tags={**all_tags, "mlflow.runName": f"{model}-{digest[:8]}"})
        run_id = run.info.run_id
        try:
            for name, value in metrics.items():
                client.log_metric(run_id, name, float(value))
            client.log_artifacts(run_id, str(folder), OUTPUT)
            with tempfile.TemporaryDirectory(prefix="tidegate-") as scratch:
                flavour = Path(scratch) / FLAVOUR
                _save_flavour(folder, flavour, run_id)
                client.log_artifacts(run_id, str(flavour), FLAVOUR)
            try:
                client.create_registered_model(model)
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
            note = _note(folder)
            source = f"{run.info.artifact_uri}/{FLAVOUR}"
            version = client.create_model_version(model, source, run_id, tags=all_tags, description=note)
            client.set_terminated(run_id, "FINISHED")
        except BaseException:
            client.set_terminated(run_id, "FAILED")
            raise
        return self._version(model, version)

    def get(self, model: str, version_or_alias: str) -> ModelVersion:
        def ask() -> ModelVersion:
            what = f"looking up {model}/{version_or_alias}"
            if not self._exists(model):
                raise NotFound(f"{what}: no version of it is registered; run 'tidegate train {model}' first")
            by_number = version_or_alias.isdecimal()
            look_up = self._client.get_model_version if by_number else self._client.get_model_version_by_alias
            return self._version(model, look_up(model, version_or_alias))

        return self._ask(f"looking up {model}/{version_or_alias}", model, ask)

    def versions(self, model: str) -> list[ModelVersion]:
        def ask() -> list[ModelVersion]:
            if not self._exists(model):
                return []
            found, token = [], None
            while True:
                page = self._client.search_model_versions(f"name = '{model}'", max_results=200, page_token=token)
                found += [self._version(model, self._client.get_model_version(model, each.version)) for each in page]
                token = page.token
                if not token:
                    return sorted(found, key=lambda each: int(each.version))

        try:
            return self._ask(f"listing versions of {model}", model, ask)
        except NotFound:  # no database yet
            return []

    def set_alias(self, model: str, alias: str, version: str) -> None:
        question = lambda: self._client.set_registered_model_alias(model, alias, version)  # noqa: E731
        self._ask(f"setting alias {alias} of {model}", model, question)

    def delete_alias(self, model: str, alias: str) -> None:
        question = lambda: self._client.delete_registered_model_alias(model, alias)  # noqa: E731
        self._ask(f"deleting alias {alias} of {model}", model, question)

    def set_tags(self, model: str, version: str, tags: Mapping[str, str]) -> None:
        def ask() -> None:
            for name, value in tags.items():
                self._client.set_model_version_tag(model, version, name, value)

        self._ask(f"tagging {model}/{version}", model, ask)

    def kept_at(self, version: ModelVersion) -> Path | None:
        folder = self._artifacts(version.model) / version.run_id / "artifacts"
        return folder if self._local and folder.is_dir() else None

    def fetch(self, version: ModelVersion, into: Path) -> Path:
        refuse_pruned(version)

        def ask() -> Path:
            into.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".fetch-", dir=into.parent) as scratch:
                here = self._artifacts(version.model) / version.run_id / "artifacts" / OUTPUT
                # MLflow knows the folder where it was made, and a state folder may have been moved
                moved = self._local and here.is_dir()
                output = here if moved else Path(self._client.download_artifacts(version.run_id, OUTPUT, scratch))
                shutil.copytree(output, into, dirs_exist_ok=True)
            return into

        what = f"{version.model}/{version.version}"
        return check_digests(self._ask(f"fetching {what}", version.model, ask), version, f"fetching {what}")

    @cached_property
    def _client(self) -> Any:
        if self._local:
            settle_waiting()
        from mlflow.tracking import MlflowClient

        return MlflowClient(self._uri, self._uri)

    def _exists(self, model: str) -> bool:
        """Whether the model is registered; raises Unavailable where it has to be and is not."""
        from mlflow.exceptions import MlflowException

        try:
            self._client.get_registered_model(model)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            if self._known(model):
                raise Unavailable(f"MLflow at {self._uri} has no model '{model}', {self._lost(model)}") from error
            return False
        return True

    def _lost(self, model: str) -> str:
        return (
            f"though there are releases or rollouts of {model}: restore it from a backup, or set MLFLOW_TRACKING_URI to the "
            "registry that has it; a new registry goes with a new state folder (TIDEGATE_STATE)"
        )

    def _experiment(self, model: str) -> str:
        """The model's experiment, whose artifacts lie in our folder: in one that was moved, it is another one."""
        where = self._artifacts(model).as_uri() if self._local else None
        for name in (model, f"{model}-{digest_of(where)[:8]}"):
            found = self._client.get_experiment_by_name(name)
            if found is None:
                return str(self._client.create_experiment(name, where))
            if where in (None, found.artifact_location):
                break
        return str(found.experiment_id)

    def _artifacts(self, model: str) -> Path:
        return self._folder / "artifacts" / model

    @property
    def _local(self) -> bool:
        return self._uri.startswith("sqlite")

    def _version(self, model: str, found: Any) -> ModelVersion:
        metrics = self._client.get_run(found.run_id).data.metrics
        return ModelVersion(
            model=model,
            version=str(found.version),
            run_id=found.run_id,
            artifact_digest=found.tags.get(DIGEST_TAG, ""),
            output_digest=found.tags.get(OUTPUT_TAG, ""),
            metrics=dict(metrics),
            tags=dict(found.tags),
            aliases=tuple(sorted(found.aliases)),
        )

    def _ask(self, what: str, model: str, question: Callable[[], Result], may_create: bool = False) -> Result:
        """Run a question to MLflow; its errors become ours, one sentence each.

        `may_create`: whether a database that is missing may be made for it.
        """
        ours = self._uri == f"sqlite:///{self._database}"
        if ours:
            if self._database.is_file():
                check_unlocked(self._database, what)
            elif self._known(model):
                raise Unavailable(f"{what}: the registry's database {self._database} is missing, {self._lost(model)}")
            elif not may_create:
                raise NotFound(f"{what}: nothing is registered yet; run 'tidegate train {model}' first")
        try:
            settle_mlflow()  # before anything else imports it
            if ours and may_create and not self._database.is_file():
                create(self._database)
            return question()
        except TidegateError:
            raise
        except Exception as error:
            code = getattr(error, "error_code", "")
            reason = " ".join(str(error).split())[:200]
            if code == "RESOURCE_DOES_NOT_EXIST" or ("alias" in reason.lower() and "not found" in reason.lower()):
                raise NotFound(f"{what}: MLflow has none; see 'tidegate registry list {model}' for what there is") from error
            if code == "INVALID_PARAMETER_VALUE":
                raise InvalidInput(f"{what}: MLflow refused it ({reason})") from error
            raise Unavailable(
                f"{what}: MLflow at {self._uri} did not do it ({reason}); check that it runs and can write"
            ) from error


def _save_flavour(folder: Path, into: Path, run_id: str) -> None:
    """The model as MLflow's ONNX flavour: MLmodel with signature, and the same bytes of the graph."""
    import mlflow.onnx
    import onnx
    from mlflow.models import Model, ModelSignature
    from mlflow.types import Schema, TensorSpec

    model = onnx.load(str(folder / MODEL))
    specs = [
        Schema([TensorSpec(_numpy_type(value), _shape(value), value.name) for value in values])
        for values in (model.graph.input, model.graph.output)
    ]
    mlflow.onnx.save_model(
        model,
        str(into),
        mlflow_model=Model(run_id=run_id),
        signature=ModelSignature(inputs=specs[0], outputs=specs[1]),
        pip_requirements=["onnx", "onnxruntime"],
        save_as_external_data=False,
    )


def _numpy_type(value: Any) -> Any:
    import numpy as np
    from onnx import helper

    return np.dtype(helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type))


def _shape(value: Any) -> tuple[int, ...]:
    return tuple(dim.dim_value if dim.HasField("dim_value") else -1 for dim in value.type.tensor_type.shape.dim)


def _lineage_tags(folder: Path) -> dict[str, str]:
    path = folder / LINEAGE
    if not path.is_file():
        return {}
    return {f"lineage.{name}": str(value) for name, value in json.loads(path.read_bytes()).items()}


def _note(folder: Path) -> str | None:
    path = folder / CARD
    return path.read_text(encoding="utf-8")[:MAX_NOTE] if path.is_file() else None
