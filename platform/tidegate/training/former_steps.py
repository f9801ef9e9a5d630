"""Steps that pipelines of earlier versions called: they are a pipeline's own now, and whoever asks for one is told so."""

from __future__ import annotations

from typing import NoReturn

FORMER = ("extract_step", "validate_step", "train_step", "evaluate_step")


def gone(name: str) -> NoReturn:
    """A module's `__getattr__`: raises AttributeError."""
    if name in FORMER:
        raise AttributeError(
            f"tidegate.api.training has no '{name}': the steps of a pipeline lie in its own folder, and its components call "
            "them by step(run, 'steps.py:FUNCTION'); take pipelines/demand as it is now, or see docs/training.md"
        )
    raise AttributeError(f"tidegate.api.training has no '{name}'")
