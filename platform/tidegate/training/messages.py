"""What a step says to the process that runs it, one line each on standard output, whatever runs the pipeline in between.

tidegate-progress <text>          for people
tidegate-error {"kind", "message"}  an expected error, raised again under the same class by the runner
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import TypeVar

from tidegate.domain import errors
from tidegate.domain.errors import InvalidInput, TidegateError

PROGRESS, ERROR = "tidegate-progress ", "tidegate-error "
Result = TypeVar("Result")


def say(text: str) -> None:
    sys.stdout.write(f"{PROGRESS}{text}\n")
    sys.stdout.flush()


def reported(step: Callable[[], Result]) -> Result:
    """The step's result; an expected error is said in one line and ends the process with its exit code, without a traceback."""
    try:
        return step()
    except TidegateError as error:
        sys.stdout.write(ERROR + json.dumps({"kind": type(error).__name__, "message": str(error)}) + "\n")
        sys.stdout.flush()
        raise SystemExit(error.exit_code) from None


def progress_in(line: str) -> str | None:
    _, found, text = line.partition(PROGRESS)
    return text.strip() if found else None


def error_in(line: str, step: str) -> TidegateError | None:
    """The error that a step said in `line`, naming the step; None when the line says none."""
    _, found, text = line.partition(ERROR)
    if not found:
        return None
    try:
        value = json.loads(text)
        kind = getattr(errors, value["kind"], InvalidInput)
        message = f"step '{step}' failed: {value['message']}"
    except (ValueError, KeyError, TypeError):
        return None
    return kind(message) if isinstance(kind, type) and issubclass(kind, TidegateError) else InvalidInput(message)
