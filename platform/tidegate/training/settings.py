"""What a run was given to turn, as a value of the pipeline's own, and as the lines that end a model card."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any, TypeVar

from tidegate.domain.errors import InvalidInput
from tidegate.domain.release import Lineage

Parameters = TypeVar("Parameters")


def parameters_of(kind: type[Parameters], settings: Mapping[str, Any]) -> Parameters:
    """A dataclass of the parameters; raises InvalidInput naming one that is unknown or missing."""
    wanted = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    if set(settings) != wanted:
        odd = min(set(settings) ^ wanted)
        raise InvalidInput(f"pipeline parameter '{odd}' is unknown or missing; they are {', '.join(sorted(wanted))}")
    return kind(**settings)


def provenance(lineage: Lineage, parameters: Mapping[str, Any]) -> list[str]:
    """The end of a model card, in Markdown: lineage and parameters."""
    return [
        "## Lineage",
        "",
        *(f"- {key}: `{value}`" for key, value in asdict(lineage).items()),
        "",
        "## Parameters",
        "",
        *(f"- {key}: {value}" for key, value in parameters.items()),
    ]
