"""Port to whatever runs a compiled pipeline: this machine, or a Kubeflow Pipelines endpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

# What a training gives to a pipeline; one takes any of these, and has defaults for arguments of its own.
ARGUMENTS = (
    *("project", "state", "model", "data", "until", "champion", "champion_version", "pipeline_digest", "definitions"),
    "parameters",
)
Progress = Callable[[str], None]


@dataclass(frozen=True)
class PipelineRun:
    """A run that was started or is over; `finished` is false for a run left to an endpoint. `outputs` by name."""

    run_id: str
    finished: bool
    outputs: Mapping[str, Any] = field(default_factory=dict)
    folder: Path | None = None
    url: str = ""


class PipelineRunner(Protocol):
    def run(self, pipeline: Path, arguments: Mapping[str, Any], progress: Progress | None = None) -> PipelineRun:
        """Run the pipeline defined in Python file `pipeline`, with those of the `arguments` that it takes.

        Raises Unavailable, or InvalidInput naming the failed step, or the argument that is unknown or missing.
        """
