"""Runs one operation of Pulumi's engine on the real program: `run_pulumi.py OPERATION FOLDER`, settings as JSON on stdin.

The engine calls the program back at a port of this process, so both run where the API server is reached. (With `pulumi up`
it is Pulumi's language host that runs the program; here it is the Automation API.) State, settings and the engine's home lie
in FOLDER. Standard output is JSON: what changed, or `error`, what the engine said.
"""

from __future__ import annotations

import json
import runpy
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pulumi import automation

INFRA = Path(__file__).resolve().parents[2] / "infra"


def main() -> None:
    operation, folder = sys.argv[1], Path(sys.argv[2])
    given = json.load(sys.stdin)
    name = given["stack"]
    steps: dict[str, str] = {}

    def note(event: automation.EngineEvent) -> None:
        """What is to be done to a resource; of a refresh only its outcome says it."""
        for about in (event.resource_pre_event, event.res_outputs_event):
            if about and about.metadata.op not in ("same", "refresh"):
                steps[about.metadata.urn.rpartition("::")[2]] = str(getattr(about.metadata.op, "value", about.metadata.op))

    done: dict[str, Any] = {"steps": steps}
    try:
        stack = _stack(name, folder)
        if given["settings"]:
            stack.set_all_config(configuration(given["settings"], given["secrets"]), path=True)
        getattr(stack, operation)(on_event=note, color="never")
    except automation.CommandError as error:
        done["error"] = str(error)
    sys.stdout.write(json.dumps(done))


def _stack(name: str, folder: Path) -> automation.Stack:
    for part in ("state", "work", "home"):
        (folder / part).mkdir(exist_ok=True)
    backend = automation.ProjectBackend(url=f"file://{folder / 'state'}")
    options = automation.LocalWorkspaceOptions(
        work_dir=str(folder / "work"),
        pulumi_home=str(folder / "home"),
        secrets_provider="passphrase",
        project_settings=automation.ProjectSettings("tidegate", runtime="python", backend=backend),
    )
    return automation.create_or_select_stack(name, "tidegate", lambda: program(name), opts=options)


def configuration(settings: Mapping[str, Any], secrets: Mapping[str, str]) -> dict[str, automation.ConfigValue]:
    plain = {f"tidegate:{path}": automation.ConfigValue(str(value)) for path, value in flat(settings)}
    return plain | {f"tidegate:{name}": automation.ConfigValue(value, secret=True) for name, value in secrets.items()}


def program(stack: str) -> None:
    """As the language host runs it: `infra` is where it looks for modules."""
    sys.path.insert(0, str(INFRA))
    from program import settings  # type: ignore[import-not-found]

    settings.STACKS += (stack,)  # one more stack than the three: what is there of a real one is left alone
    runpy.run_path(str(INFRA / "__main__.py"), run_name="__main__")


def flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Settings one by one, by the paths that `pulumi config set --path` takes."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from flat(inner, f'{path}["{key}"]' if "." in key or "/" in key else f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from flat(inner, f"{path}[{i}]")
    else:
        yield path, value


if __name__ == "__main__":
    main()
