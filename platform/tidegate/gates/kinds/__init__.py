"""The kinds of gates that the platform has: the one place where they are listed.

A kind is imported when a monitor file that names it is read, since most need libraries that
whoever only follows a rollout does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import cast

from tidegate.ports.gates import GateKind

KINDS: Mapping[str, str] = {
    "parity": "tidegate.gates.kinds.parity",
    "shadow": "tidegate.gates.kinds.shadow",
    "drift": "tidegate.gates.kinds.drift",
    "bake": "tidegate.gates.kinds.bake",
}


def load_kind(name: str) -> GateKind:
    """The kind called `name`; raises KeyError."""
    return cast(GateKind, import_module(KINDS[name]))
