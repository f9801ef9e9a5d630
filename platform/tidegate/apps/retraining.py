"""One retraining that a verdict asked for: `tidegate retrain`, in a Job of the cluster.

What is wrong with the data or the pipeline is reported and not tried again, and so is a run that goes on at a Kubeflow
Pipelines endpoint; what could not be reached leaves the request in the queue. A version that was made of the same data,
features and code before is the answer: training again would make it again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tidegate.domain.errors import TidegateError, Unavailable
from tidegate.files.layout import StateFolder
from tidegate.ports.retraining import TRAINING, Report, RetrainingQueue, RetrainingRequest
from tidegate.training.run import GoesOn

if TYPE_CHECKING:
    from tidegate.apps.platform import Platform
    from tidegate.ports.registry import ModelVersion


@dataclass(frozen=True)
class Retrained:
    request: RetrainingRequest
    version: ModelVersion
    made_now: bool


def retrain(platform: Platform, queue: RetrainingQueue) -> Retrained | None:
    """Take the oldest request and answer it by a registered version; None where nobody asks."""
    request = queue.take()
    if request is None:
        return None
    platform.progress(f"request {request.id}, {request.release}: {request.reason}")
    with queue.working(request):
        try:
            found = _version(platform, request)
        except TidegateError as error:
            action = "retraining.submitted" if isinstance(error, GoesOn) else "retraining.failed"
            if isinstance(error, GoesOn) or not isinstance(error, Unavailable):
                body = {"request": request.id, "message": str(error)}
                queue.done(request, Report(action, request.release, body, TRAINING))
            raise
        queue.done(request, Report("retraining.done", request.release, _told(found), TRAINING))
    return found


def _version(platform: Platform, request: RetrainingRequest) -> Retrained:
    model = platform.project.model(request.model).name
    platform.ingest_all(model)
    known = _made_before(platform, model)
    return Retrained(request, known or platform.train(model), known is None)


def _made_before(platform: Platform, model: str) -> ModelVersion | None:
    """The newest version of the data that were just ingested, by the present features and code."""
    from tidegate.apps.datasets import trained_until
    from tidegate.apps.training_run import Run, lineage

    project = platform.project
    data = StateFolder(project.state).all_data
    until, of_the_data = trained_until(project, model, data)
    now = lineage(Run(str(project.file), model, state=str(project.state), data=str(data), until=until.isoformat()))
    wanted = {
        f"lineage.{name}": getattr(now, name)
        for name in ("data", "features", "code", *(("trained_until",) if of_the_data else ()))
    }
    versions = [v for v in platform.registry.versions(model) if wanted.items() <= v.tags.items()]
    return max(versions, key=lambda version: int(version.version), default=None)


def _told(found: Retrained) -> dict[str, object]:
    version, how = found.version, "registered" if found.made_now else "was made of the same data before"
    return {
        "request": found.request.id,
        "version": version.version,
        "artifact": version.artifact_digest,
        "output": version.output_digest,
        "run": version.run_id,
        "message": f"{version.model} version {version.version} {how}; 'tidegate promote {version.model}' judges it",
    }
