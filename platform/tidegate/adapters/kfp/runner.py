"""Kubeflow pipelines, on this machine or at an endpoint (`ports.pipeline_runs.PipelineRunner`).

Local runs use kfp's own local runner (SubprocessRunner without a virtual environment) in a child process, because it replaces
`print` and the root logger of the process it runs in. Steps run under this interpreter with this package first on the path.
Their output is kept in `<run>/log.txt`; artifacts lie beside it.

    python -m tidegate.adapters.kfp.runner compile PIPELINE.py    write PIPELINE.yaml beside it
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import time
import uuid
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tidegate.adapters.vendor_imports import TELEMETRY_OFF
from tidegate.domain.errors import InvalidInput, TidegateError, Unavailable
from tidegate.files.source_code import Sources
from tidegate.ports.pipeline_runs import ARGUMENTS, PipelineRun, Progress
from tidegate.training.messages import error_in, progress_in

DIGEST = "pipeline_digest"  # the argument that gets the SHA-256 of the compiled pipeline, where a pipeline has it
LAST_LINES = 12
_EXECUTING = re.compile(r"Executing task .*?'([\w-]+)'")
_FAILED = re.compile(r"finished with status .*FAIL")  # what follows is kfp's own traceback
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
# Two busy cores: threads that spin while they wait for each other cost ten times what they compute.
# And no module is taken from the folder in which a command happens to be called.
STEP_ENVIRONMENT = {"OMP_WAIT_POLICY": "PASSIVE", "PYTHONUNBUFFERED": "1", "PYTHONWARNINGS": "ignore", "PYTHONSAFEPATH": "1"}


class LocalKfpRunner:
    """Runs pipelines on this machine, below `root` (a state folder's `pipelines/`)."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()

    def run(self, pipeline: Path, arguments: Mapping[str, Any], progress: Progress | None = None) -> PipelineRun:
        run_id = f"{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:6]}"
        folder = self._root / "runs" / run_id
        try:
            folder.mkdir(parents=True)
        except OSError as error:
            raise Unavailable(f"pipeline {pipeline.name}: cannot write {folder} ({error.strerror}); free space") from error
        order = {"pipeline": str(pipeline.resolve()), "arguments": dict(arguments), "folder": str(folder)}
        (folder / "order.json").write_text(json.dumps(order, indent=2))
        command = [sys.executable, "-m", "tidegate.adapters.kfp.runner", "run", str(folder / "order.json")]
        child = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", env=_environment()
        )
        watch = _Watch(pipeline, progress)
        try:
            with (folder / "log.txt").open("w", encoding="utf-8") as log:
                for line in child.stdout or ():
                    log.write(line)
                    watch.see(line)
            code = child.wait()
        finally:
            if child.poll() is None:
                child.terminate()
                child.wait()
        result = folder / "result.json"
        if code != 0 or not result.is_file():
            raise watch.failure(folder / "log.txt")
        return PipelineRun(run_id, True, json.loads(result.read_bytes()), folder)


class _Watch:
    """Follows the lines of a run: which step runs, what it says, what it said last."""

    def __init__(self, pipeline: Path, progress: Progress | None) -> None:
        self._pipeline, self._progress = pipeline, progress
        self._step = "start"
        self._error: TidegateError | None = None
        self._last: deque[str] = deque(maxlen=LAST_LINES)
        self._failed = False

    def see(self, line: str) -> None:
        text = _COLOUR.sub("", line).strip()
        if not text:
            return
        if found := _EXECUTING.search(text):
            self._step = found[1]
            self._last.clear()
        elif (said := progress_in(text)) is not None:
            if self._progress:
                self._progress(f"{self._step}: {said}")
        elif (error := error_in(text, self._step)) is not None:
            self._error = self._error or error
        elif _FAILED.search(text):
            self._failed = True
        elif not self._failed and not text.startswith("----"):
            self._last.append(text)

    def failure(self, log: Path) -> TidegateError:
        if self._error is not None:
            return self._error
        words = " | ".join(list(self._last)[-3:]) or "it said nothing"
        return InvalidInput(f"pipeline {self._pipeline.name}: step '{self._step}' failed: {words}; the whole log is {log}")


class KfpEndpointRunner:
    """Submits the compiled YAML beside a pipeline to a Kubeflow Pipelines API and leaves the run there."""

    def __init__(self, endpoint: str, experiment: str = "tidegate") -> None:
        self._endpoint, self._experiment = endpoint.rstrip("/"), experiment

    def run(self, pipeline: Path, arguments: Mapping[str, Any], progress: Progress | None = None) -> PipelineRun:
        import warnings

        compiled = pipeline.with_suffix(".yaml")
        if not compiled.is_file():
            raise InvalidInput(f"pipeline {pipeline.name}: there is no {compiled.name} beside it; compile it first")
        content = compiled.read_bytes()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                import kfp
                from kfp.components import load_component_from_text

                taken = load_component_from_text(content.decode()).pipeline_spec.root.input_definitions.parameters
                given = _taken(pipeline.name, taken, {DIGEST: hashlib.sha256(content).hexdigest(), **arguments})
                client = kfp.Client(host=self._endpoint, namespace="")
                run = client.create_run_from_pipeline_package(
                    str(compiled), arguments=given, experiment_name=self._experiment, enable_caching=False
                )
        except TidegateError:
            raise
        except Exception as error:  # urllib3's, kfp_server_api's and kfp's own, which share no base
            what = f"submitting pipeline {pipeline.name} to {self._endpoint}"
            if refused := _refusal(error):
                raise InvalidInput(f"{what}: the API refused it {refused}") from error
            reason = " ".join(str(error).split())[:200]
            raise Unavailable(f"{what}: {reason}; check TIDEGATE_KFP_ENDPOINT") from error
        if progress:
            progress(f"submitted run {run.run_id} to {self._endpoint}")
        return PipelineRun(run.run_id, False, url=f"{self._endpoint}/#/runs/details/{run.run_id}")


def _refusal(error: Exception) -> str:
    """What the API says of a request that it does not take; empty for any other error."""
    status, body = getattr(error, "status", None), getattr(error, "body", None)
    if not isinstance(status, int) or not 400 <= status < 500:
        return ""
    try:
        said = json.loads(body or "")["message"]
    except (ValueError, KeyError, TypeError):
        said = str(getattr(error, "reason", ""))
    return f"({status}): {' '.join(str(said).split())[:300]}"


def load_pipeline(path: Path) -> Any:
    """The one pipeline that Python file `path` defines; raises InvalidInput."""
    from kfp.dsl.graph_component import GraphComponent

    if path.suffix != ".py" or not path.is_file():
        raise InvalidInput(f"pipeline {path}: there is no such Python file")
    try:
        module = Sources.beside(path).module(path.name)
    except Exception as error:
        raise InvalidInput(f"pipeline {path} cannot be loaded: {type(error).__name__}: {error}") from error
    found = [value for value in vars(module).values() if isinstance(value, GraphComponent)]
    if len(found) != 1:
        raise InvalidInput(f"pipeline {path} defines {len(found)} pipelines (@dsl.pipeline), required exactly one")
    return found[0]


def compile_pipeline(path: Path, into: Path) -> str:
    """Write the compiled YAML of pipeline file `path` to `into`; returns its SHA-256. Equal pipelines give equal bytes."""
    from kfp import compiler

    into.parent.mkdir(parents=True, exist_ok=True)
    compiler.Compiler().compile(load_pipeline(path), str(into))
    return hashlib.sha256(into.read_bytes()).hexdigest()


def _taken(pipeline: str, inputs: Mapping[str, Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the arguments that the pipeline takes; raises InvalidInput for one that it should have, or lacks."""
    known = ", ".join(sorted(inputs)) or "none"
    if unknown := sorted(set(arguments) - set(inputs) - set(ARGUMENTS)):
        raise InvalidInput(f"pipeline {pipeline} has no argument {', '.join(unknown)}; it has {known}")
    missing = sorted(
        name
        for name, each in inputs.items()
        if name not in arguments and not (each.is_optional or each.HasField("default_value"))
    )
    if missing:
        raise InvalidInput(
            f"pipeline {pipeline} requires {', '.join(missing)}, which a training does not give; give it a default, or take "
            f"one of {', '.join(ARGUMENTS)}"
        )
    return {name: value for name, value in arguments.items() if name in inputs}


def _environment() -> dict[str, str]:
    """Ours with this package first on the path; off: telemetry of what the steps import."""
    import tidegate

    package = str(Path(tidegate.__file__).parent.parent)
    path = os.pathsep.join([package, *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, **STEP_ENVIRONMENT, **TELEMETRY_OFF, "PYTHONPATH": path}


def _run_here(order: Path) -> None:
    """The child process of LocalKfpRunner."""
    from kfp import local

    from tidegate.training.messages import reported

    given = json.loads(order.read_bytes())
    folder = Path(given["folder"])

    def body() -> None:
        path = Path(given["pipeline"])
        pipeline = load_pipeline(path)
        inputs = pipeline.pipeline_spec.root.input_definitions.parameters
        digest = compile_pipeline(path, folder / "pipeline.yaml")
        arguments = _taken(path.name, inputs, {DIGEST: digest, **given["arguments"]})
        local.init(
            local.SubprocessRunner(use_venv=False), pipeline_root=str(folder / "artifacts"), workspace_root=str(folder / "work")
        )
        task = pipeline(**arguments)
        outputs = {"version" if name == "Output" else name: value for name, value in task.outputs.items()}
        (folder / "result.json").write_text(json.dumps(outputs))

    reported(body)


def main(arguments: list[str]) -> int:
    if len(arguments) == 2 and arguments[0] == "run":
        _run_here(Path(arguments[1]))
        return 0
    if len(arguments) == 2 and arguments[0] == "compile":
        path = Path(arguments[1])
        try:
            compile_pipeline(path, path.with_suffix(".yaml"))
        except TidegateError as error:
            sys.stderr.write(f"{error}\n")
            return error.exit_code
        return 0
    sys.stderr.write("usage: python -m tidegate.adapters.kfp.runner compile PIPELINE.py\n")
    return 2


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
