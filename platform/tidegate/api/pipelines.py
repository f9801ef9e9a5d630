"""For a training pipeline, `pipelines/MODEL/pipeline.py`: the five steps that most models need.

A component is thin: it calls the function of its name in steps.py beside the pipeline's file, from sources whose digest the
lineage names. What a component is given, is what its step may look at: `train` has no data but the rows that were extracted. A
pipeline of another shape is written with kfp's own `dsl` and `tidegate.api.training`.

KFP keeps the text of these functions, which imports what it needs where it runs; their annotations are read by kfp, so they are
no strings.
"""

# mypy: disable-error-code="no-any-return"
import json
from collections.abc import Mapping
from typing import Any

from kfp import dsl

IMAGE = "ghcr.io/tidegate/tidegate-python:0.1.0"  # Python with the package installed, as charts/ deploys it


def extract(
    project: str,
    state: str,
    model: str,
    data: str,
    until: str,
    definitions: str,
    parameters: str,
    rows: dsl.Output[dsl.Dataset],
) -> int:
    from tidegate.api.training import Run, step

    run = Run(project, model, state=state, data=data, until=until, definitions=definitions, parameters=parameters)
    return step(run, "steps.py:extract", rows.path)


def validate(
    project: str,
    state: str,
    model: str,
    data: str,
    until: str,
    definitions: str,
    parameters: str,
    rows: dsl.Input[dsl.Dataset],
    findings: dsl.Output[dsl.Artifact],
) -> int:
    from tidegate.api.training import Run, step

    run = Run(project, model, state=state, data=data, until=until, definitions=definitions, parameters=parameters)
    return step(run, "steps.py:validate", rows.path, findings.path)


def train(
    project: str,
    model: str,
    until: str,
    definitions: str,
    parameters: str,
    rows: dsl.Input[dsl.Dataset],
    trained: dsl.Output[dsl.Model],
) -> int:
    from tidegate.api.training import Run, step

    run = Run(project, model, until=until, definitions=definitions, parameters=parameters)
    return step(run, "steps.py:train", rows.path, trained.path)


def evaluate(
    project: str,
    state: str,
    model: str,
    data: str,
    until: str,
    definitions: str,
    parameters: str,
    champion: str,
    champion_version: str,
    pipeline_digest: str,
    run_id: str,
    rows: dsl.Input[dsl.Dataset],
    trained: dsl.Input[dsl.Model],
    output: dsl.Output[dsl.Model],
) -> str:
    from tidegate.api.training import Run, step

    run = Run(
        project,
        model,
        state=state,
        data=data,
        until=until,
        champion=champion,
        champion_version=champion_version,
        pipeline_digest=pipeline_digest,
        definitions=definitions,
        run_id=run_id,
        parameters=parameters,
    )
    return step(run, "steps.py:evaluate", rows.path, trained.path, output.path)


def register(project: str, state: str, model: str, output: dsl.Input[dsl.Model]) -> str:
    from tidegate.api.training import Run, register_step

    return register_step(Run(project, model, state=state), output.path)


def five_steps(name: str, description: str, parameters: Mapping[str, Any], image: str = IMAGE) -> Any:
    """The pipeline of a model whose steps.py has extract, validate, train and evaluate.

    `name` is what Kubeflow Pipelines calls it, `parameters` the defaults of all that can be turned, which a run may replace,
    `image` has Python with tidegate[control] and what the steps import.
    """

    def component(function: Any) -> Any:
        return dsl.component(function, base_image=image, install_kfp_package=False)

    defaults = json.dumps(dict(parameters), sort_keys=True)
    steps = {function.__name__: component(function) for function in (extract, validate, train, evaluate, register)}

    @dsl.pipeline(name=name, description=description)
    def pipeline(
        project: str,
        model: str,
        data: str,
        until: str,
        state: str = "",
        champion: str = "",
        champion_version: str = "",
        pipeline_digest: str = "",
        definitions: str = "",
        parameters: str = defaults,
    ) -> str:
        """`until` is an ISO time with zone: nothing at or after it is seen. `data` is the folder of ingested data."""
        code = {"project": project, "model": model, "definitions": definitions, "parameters": parameters}
        seen = {**code, "state": state, "data": data, "until": until}
        extracted = steps["extract"](**seen)
        extracted.set_caching_options(False)  # the folder's content may have changed under the same name
        rows = extracted.outputs["rows"]
        validated = steps["validate"](**seen, rows=rows)
        trained = steps["train"](**code, until=until, rows=rows).after(validated).outputs["trained"]
        evaluated = steps["evaluate"](
            **seen,
            champion=champion,
            champion_version=champion_version,
            pipeline_digest=pipeline_digest,
            run_id=dsl.PIPELINE_JOB_NAME_PLACEHOLDER,
            rows=rows,
            trained=trained,
        )
        registered = steps["register"](project=project, state=state, model=model, output=evaluated.outputs["output"])
        registered.set_caching_options(False)
        return registered.output

    return pipeline
