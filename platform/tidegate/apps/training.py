"""`tidegate train`: one run of a model's pipeline, put together for commands."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from tidegate.apps import wiring
from tidegate.domain.project import Project
from tidegate.files.layout import StateFolder

if TYPE_CHECKING:
    from tidegate.apps.opened import OpenedProject
    from tidegate.ports.pipeline_runs import PipelineRunner
    from tidegate.ports.registry import ModelVersion

ENDPOINT = "TIDEGATE_KFP_ENDPOINT"  # the address of a Kubeflow Pipelines API; without it, pipelines run on this machine


def train(platform: OpenedProject, model: str, until: datetime | None = None, data: Path | None = None) -> ModelVersion:
    """Run the pipeline of `model` on the datasets below `data` (or the project's) before `until` (default: all)."""
    from tidegate.adapters.files.project_file import load_project
    from tidegate.apps.datasets import trained_until
    from tidegate.apps.reconcile import settle
    from tidegate.apps.training_run import definitions
    from tidegate.registry.evidence import record_registration
    from tidegate.training.run import TrainingRequest
    from tidegate.training.run import train as run_training

    project = platform.project
    config = project.model(model)
    folder = data or StateFolder(project.state).all_data
    pipeline = config.its_pipeline()
    moment, _ = trained_until(project, model, folder, until)
    begun_with = definitions(load_project(project.file), model)  # the steps open the project by its file
    request = TrainingRequest(model, project.file, project.state, pipeline, folder, moment, begun_with)
    settle(platform, model)
    version = run_training(request, pipeline_runner(project), platform.registry, platform.progress).version
    record_registration(platform.ledger, version)
    return version


def pipeline_runner(project: Project) -> PipelineRunner:
    return wiring.pipeline_runner(project, os.environ.get(ENDPOINT))
