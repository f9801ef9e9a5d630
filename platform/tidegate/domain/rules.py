"""A section of a file as a frozen dataclass: limits are written beside the fields, and each mistake is one sentence.

A field's type says what a value has to be (bool, int, float, str, tuple[str, ...], a mapping of reasons, a section of its own),
`between`, `share`, `choice` and `reasons` say what of it is allowed. A rule that fields have together is a ValueError of the
dataclass's `__post_init__`. Messages name source, key, what was observed and what is allowed.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, TypeVar, get_type_hints

from tidegate.domain.errors import InvalidInput
from tidegate.domain.project import did_you_mean

T = TypeVar("T")
MISSING: Any = dataclasses.MISSING


class UnknownKey(InvalidInput):
    """A key that this version does not know: a slip in a person's file, a later version's in a document."""

    def __init__(self, source: str, key: str, hint: str) -> None:
        super().__init__(f"{source}: unknown key '{key}'; {hint}")
        self.key = key


def between(low: float, high: float = math.inf, default: Any = MISSING) -> Any:
    """A number from `low` to `high`, whole where the field is an int."""
    return dataclasses.field(default=default, metadata={"low": low, "high": high})


def share(default: Any = MISSING) -> Any:
    return between(0.0, 1.0, default)


def choice(*allowed: str, default: Any = MISSING) -> Any:
    return dataclasses.field(default=default, metadata={"choices": allowed})


def reasons(what: str) -> Any:
    """A mapping `what: reason`, empty where there is none."""
    return dataclasses.field(default_factory=dict, metadata={"mapping": f"{what}: reason"})


def read_section(cls: type[T], value: Any, source: str, path: str = "") -> T:
    """`value` as a `cls`; raises InvalidInput that names `source` and the key below `path`."""
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    if not isinstance(value, Mapping):
        where = path or "the file"
        raise InvalidInput(f"{source}: {where} is {value!r}, allowed: a mapping with {', '.join(fields) or 'nothing'}")
    for key in value:
        if key not in fields:
            raise UnknownKey(source, below(path, str(key)), did_you_mean(str(key), fields))
    hints = get_type_hints(cls)
    read = {}
    for name, spec in fields.items():
        key = below(path, name)
        if name in value:
            read[name] = _value(hints[name], spec, value[name], source, key)
        elif spec.default is MISSING and spec.default_factory is MISSING:
            raise InvalidInput(f"{source}: key '{key}' is missing, required: {_allowed(hints[name], spec)}")
    try:
        return cls(**read)
    except ValueError as error:
        raise InvalidInput(f"{source}: {path or 'the file'}: {error}") from error


def below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _value(kind: Any, spec: dataclasses.Field[Any], value: Any, source: str, key: str) -> Any:
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return read_section(kind, value, source, key)
    limits = spec.metadata
    if "mapping" in limits:
        ok = isinstance(value, Mapping) and all(isinstance(part, str) for pair in value.items() for part in pair)
        made: Any = dict
    elif "choices" in limits:
        ok, made = value in limits["choices"], str
    elif kind in (int, float):
        number = not isinstance(value, bool) and isinstance(value, int if kind is int else (int, float))
        ok = number and math.isfinite(value) and limits.get("low", -math.inf) <= value <= limits.get("high", math.inf)
        made = kind
    elif kind in (bool, str):
        ok, made = isinstance(value, kind), kind
    elif kind == tuple[str, ...]:
        ok, made = isinstance(value, list | tuple) and all(isinstance(part, str) for part in value), tuple
    else:
        raise InvalidInput(f"{source}: {key} is declared as {kind}, allowed: bool, int, float, str or tuple[str, ...]")
    if not ok:
        raise InvalidInput(f"{source}: {key} is {value!r}, allowed: {_allowed(kind, spec)}")
    return made(value)


def _allowed(kind: Any, spec: dataclasses.Field[Any]) -> str:
    limits = spec.metadata
    if "mapping" in limits:
        return f"a mapping {limits['mapping']}"
    if "choices" in limits:
        return " or ".join(limits["choices"])
    if dataclasses.is_dataclass(kind):
        return "a mapping with " + ", ".join(f.name for f in dataclasses.fields(kind))
    if kind not in (int, float):
        return {bool: "true or false", str: "a text"}.get(kind, "a list of texts")
    number = "a whole number" if kind is int else "a number"
    if "low" not in limits:
        return number
    low, high = limits["low"], limits["high"]
    return f"{number} " + (f"of at least {low:g}" if math.isinf(high) else f"from {low:g} to {high:g}")
