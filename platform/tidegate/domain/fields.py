"""Fields that are keys of the project file.

`key(...)` gives a field of a dataclass its name in the file, its sentence of documentation and its limits; fields without it
are filled in by whoever reads the file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, field
from typing import Any


def key(
    name: str,
    doc: str,
    *,
    default: Any = MISSING,
    factory: Callable[[], Any] | None = None,
    minimum: int | None = None,
    maximum: int | None = None,
    pattern: str | None = None,
    const: str | None = None,
    exists: str | None = None,
) -> Any:
    """A field that is a key of the project file; `exists` is 'file', 'folder' or 'file or folder' for paths that must be."""
    limits = {"minimum": minimum, "maximum": maximum, "pattern": pattern, "const": const, "exists": exists}
    metadata = {"key": name, "doc": doc, **{k: v for k, v in limits.items() if v is not None}}
    return field(default_factory=factory, metadata=metadata) if factory else field(default=default, metadata=metadata)


def is_required(of: Any) -> bool:
    """Whether a field has neither a default nor a way to make one."""
    return of.default is MISSING and of.default_factory is MISSING
