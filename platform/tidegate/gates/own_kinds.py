"""Gates of a user's own: one Python file beside the monitor file, `gates/NAME.py`, with `Rules` and `judge` as every kind.

The monitor file names it as a path from itself, and the release has it under the same path from its `monitor.json`, covered by
its digest. It runs from the bytes that were read and hashed, with what is installed and no other file of the project.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from pathlib import Path
from typing import Any, cast

from tidegate.domain.errors import InvalidInput
from tidegate.files.source_code import Sources
from tidegate.ports.gates import GateKind

OWN = re.compile(r"\./(gates/[A-Za-z_][A-Za-z0-9_]*\.py)")
OWN_FORM = "./gates/NAME.py"


def own_file(kind: str) -> str | None:
    """The file of `kind` as a path from the monitor file; None for a kind of the platform."""
    match = OWN.fullmatch(kind)
    return match[1] if match else None


def load_own_kind(file: str, content: bytes, folder: Path, where: str) -> GateKind:
    """The kind that `content` defines; raises InvalidInput that names `where` and the file, its error chained."""
    label = f"tidegate_gate_{hashlib.sha256(content).hexdigest()[:32]}"
    try:
        module = Sources(label, {file: content}, folder).module(file)
    except (Exception, SystemExit) as error:
        raise InvalidInput(f"{where}: {file} cannot be loaded: {type(error).__name__}: {error}") from error
    rules: Any = getattr(module, "Rules", None)
    frozen = dataclasses.is_dataclass(rules) and getattr(rules, "__dataclass_params__").frozen  # noqa: B009
    if not (isinstance(rules, type) and frozen):
        raise InvalidInput(f"{where}: {file} has no frozen dataclass 'Rules'; its fields are what the monitor file may say")
    if not callable(getattr(module, "judge", None)):
        raise InvalidInput(f"{where}: {file} has no function 'judge(case, rules)' that returns a Verdict and its Evidence")
    return cast(GateKind, module)
