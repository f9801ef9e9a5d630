"""Lead times: from recorded deliveries to a registered quantile model, as a Kubeflow pipeline.

`tidegate train lead_time` runs it on this machine; pipeline.yaml beside it is what a Kubeflow Pipelines endpoint gets.
After a change, `python -m tidegate.adapters.kfp.runner compile pipelines/lead_time/pipeline.py` writes that file anew (a
test compares the two).

Components are thin: each calls one function of steps.py beside this file, from sources whose digest the lineage names. They
exchange folders.
"""

import json

from kfp import dsl

IMAGE = "ghcr.io/tidegate/tidegate-python:0.1.0"  # Python with the package installed, as charts/ deploys it

# Everything that can be turned, in one place. A run may replace it through the pipeline's argument `parameters`.
PARAMETERS = {
    "min_rows": 500,
    "origins": 6,
    "margin_days": 365,  # between the last evaluated question and `until`: of later ones only the fast are known
    "reference_days": 1095,
    "calibration_days": 182,
    "calibration_folds": 4,
    "calibration_min_rows": 150,
    "trees": 80,
    "leaves": 6,
    "learning_rate": 0.06,
    "min_rows_in_leaf": 40,
    "feature_fraction": 0.5,
    "seed": 7,
}


@dsl.component(base_image=IMAGE, install_kfp_package=False)
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


@dsl.component(base_image=IMAGE, install_kfp_package=False)
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


@dsl.component(base_image=IMAGE, install_kfp_package=False)
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


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def register(project: str, state: str, model: str, output: dsl.Input[dsl.Model]) -> str:
    from tidegate.api.training import Run, register_step

    return register_step(Run(project, model, state=state), output.path)


@dsl.pipeline(name="lead-time", description="Days from order or schedule to delivery, as quantiles")
def lead_time(
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
    extracted = extract(
        project=project, state=state, model=model, data=data, until=until, definitions=definitions, parameters=parameters
    )
    extracted.set_caching_options(False)  # the folder's content may have changed under the same name
    rows = extracted.outputs["rows"]
    validated = validate(
        project=project,
        state=state,
        model=model,
        data=data,
        until=until,
        definitions=definitions,
        parameters=parameters,
        rows=rows,
    )
    learned = train(project=project, model=model, until=until, definitions=definitions, parameters=parameters, rows=rows)
    learned.after(validated)
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
        rows=rows,
        trained=learned.outputs["trained"],
    )
    registered = register(project=project, state=state, model=model, output=evaluated.outputs["output"])
    registered.set_caching_options(False)
    return registered.output
