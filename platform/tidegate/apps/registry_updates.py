"""Makes the registry's pending update, in a process of its own that the supervisor keeps while something is due.

    python -m tidegate.apps.registry_updates --state STATE --config tidegate.yaml --model MODEL

One attempt; after one that failed it waits before it ends, and the supervisor starts the next. MLflow is imported here, so the
supervisor stays light.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tidegate.apps.opened import OpenedProject
from tidegate.apps.reconcile import apply_pending
from tidegate.domain.errors import TidegateError

RETRY_S = 30.0


def update(platform: OpenedProject, model: str, sleep: Callable[[float], None] = time.sleep) -> int:
    """The exit code: 0 when nothing is due any more."""
    try:
        apply_pending(platform, model)
    except TidegateError as error:
        sys.stderr.write(f"{error}\n")
        sys.stderr.flush()
        sleep(RETRY_S)
        return error.exit_code
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    from tidegate.adapters.files.project_file import project_with_state

    parser = argparse.ArgumentParser(prog="python -m tidegate.apps.registry_updates")
    for name in ("--state", "--config"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--model", required=True)
    options = parser.parse_args(arguments)
    project = project_with_state(options.config, options.state)
    return update(OpenedProject(project), options.model)


if __name__ == "__main__":
    sys.exit(main())
