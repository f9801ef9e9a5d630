"""How the story of a model is told: what is said of its data, its figures, its fault and its answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from demo.models.case import Case

Told = tuple[str, dict[str, Any]]  # a sentence, and the facts in it


@dataclass(frozen=True)
class Tale:
    """`figure` is the metric of an evaluation that is told, with what it measures and its format; `answers` tells what is in
    some answers of the service."""

    case: Case
    about: str  # what the model does, for people who meet it here
    raw: str  # what the raw data are
    figure: tuple[str, str, str]
    fault: str  # what is wrong about the faulty version
    asked: str  # the title of what its answers say
    answers: Callable[[Sequence[Mapping[str, Any]]], Told]

    def figures(self, summary: Mapping[str, Any]) -> str:
        """The figure of the model beside those of its baselines and, where there was one, the champion."""
        metric, label, form = self.figure
        shown = [
            f"{name.replace('_', ' ')} {format(values[metric], form)}"
            for name, values in summary["forecasts"].items()
            if metric in values and name in ("model", "champion", *summary["baselines"])
        ]
        return f"{label}: {', '.join(shown)}."
