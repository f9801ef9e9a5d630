"""Employment: from people of the survey to a registered classifier, as a Kubeflow pipeline.

`tidegate train employment` runs it on this machine; pipeline.yaml beside it is what a Kubeflow Pipelines endpoint gets.
"""

import json

from kfp import dsl

IMAGE = "ghcr.io/tidegate/tidegate-python:0.1.0"

PARAMETERS = {
    "min_people": 1000,
    "reference_people": 6000,
    "trees": 80,
    "leaves": 15,
    "learning_rate": 0.08,
    "min_rows_in_leaf": 30,
    "seed": 7,
}


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def train(
    project: str,
    state: str,
    model: str,
    data: str,
    until: str,
    definitions: str,
    parameters: str,
    trained: dsl.Output[dsl.Model],
) -> int:
    from tidegate.api.training import Run, step

    run = Run(project, model, state=state, data=data, until=until, definitions=definitions, parameters=parameters)
    return step(run, "steps.py:train", trained.path)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
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
    return step(run, "steps.py:evaluate", trained.path, output.path)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def register(project: str, state: str, model: str, output: dsl.Input[dsl.Model]) -> str:
    from tidegate.api.training import Run, register_step

    return register_step(Run(project, model, state=state), output.path)


@dsl.pipeline(name="employment", description="Whether a person is employed")
def employment(
    project: str,
    model: str,
    data: str,
    until: str,
    state: str = "",
    champion: str = "",
    champion_version: str = "",
    pipeline_digest: str = "",
    definitions: str = "",
    parameters: str = json.dumps(PARAMETERS, sort_keys=True),
) -> str:
    """`until` is an ISO time with zone: nothing at or after it is seen. `data` is the folder of ingested data."""
    learned = train(
        project=project, state=state, model=model, data=data, until=until, definitions=definitions, parameters=parameters
    )
    learned.set_caching_options(False)  # the folder's content may have changed under the same name
    evaluated = evaluate(
        project=project,
        state=state,
        model=model,
        data=data,
        until=until,
        definitions=definitions,
        parameters=parameters,
        champion=champion,
        champion_version=champion_version,
        pipeline_digest=pipeline_digest,
        run_id=dsl.PIPELINE_JOB_NAME_PLACEHOLDER,
        trained=learned.outputs["trained"],
    )
    registered = register(project=project, state=state, model=model, output=evaluated.outputs["output"])
    registered.set_caching_options(False)
    return registered.output
