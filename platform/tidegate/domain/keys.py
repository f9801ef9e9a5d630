"""Entities: inside the platform the value of a model's key is one opaque string, whatever join keys it is made of.

One BYTES (String) join key is its own value, one integer its decimal digits, several parts a canonical JSON array in the key's
order: `["AA",12]`. So an entity is written, compared and logged as text everywhere, and only what speaks to a feature store, to
frames or to clients translates, by the two functions below. Equal parts make equal entities, on every machine.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tidegate.domain.errors import InvalidInput

Part = str | int | bool
TEXT, BOOLEAN = "BYTES", "BOOL"
LIMITS: Mapping[str, tuple[int, int]] = {
    "INT8": (-(2**7), 2**7 - 1),
    "INT16": (-(2**15), 2**15 - 1),
    "INT32": (-(2**31), 2**31 - 1),
    "INT64": (-(2**63), 2**63 - 1),
    "UINT8": (0, 2**8 - 1),
    "UINT16": (0, 2**16 - 1),
    "UINT32": (0, 2**32 - 1),
    "UINT64": (0, 2**64 - 1),
}
DATATYPES = (TEXT, BOOLEAN, *LIMITS)  # of join keys: what is not exact, such as a float, identifies nothing


@dataclass(frozen=True)
class JoinKey:
    """One part of a key: its column's name and its datatype, by the Open Inference Protocol's names."""

    name: str
    datatype: str = TEXT


Key = tuple[JoinKey, ...]


def entity_of(parts: Sequence[Part], key: Key) -> str:
    """The entity of one value a join key; raises InvalidInput for a part of another type than the key's."""
    if len(parts) != len(key):
        raise InvalidInput(f"a key of {names_of(key)} has {len(key)} parts, got {len(parts)}")
    checked = [_checked(part, of) for part, of in zip(parts, key, strict=True)]
    if len(checked) == 1:
        only = checked[0]
        return only if isinstance(only, str) else json.dumps(only)
    return json.dumps(checked, separators=(",", ":"), ensure_ascii=False)


def parts_of(entity: str, key: Key) -> tuple[Part, ...]:
    """The values that `entity` is made of; raises InvalidInput for one that no `entity_of` of this key made."""
    if len(key) == 1 and key[0].datatype == TEXT:
        return (entity,)
    try:
        value = json.loads(entity)
    except (ValueError, RecursionError) as error:
        raise _refused(entity, key) from error
    parts = [value] if len(key) == 1 else value
    if not isinstance(parts, list) or len(parts) != len(key):
        raise _refused(entity, key)
    found = tuple(_checked(part, of) for part, of in zip(parts, key, strict=True))
    if entity_of(found, key) != entity:
        raise _refused(entity, key)
    return found


def entities_of(columns: Mapping[str, Sequence[Part]], key: Key) -> list[str]:
    """The entity of each row of a frame's key columns, by name; raises InvalidInput."""
    if len(key) == 1 and key[0].datatype == TEXT:
        return [_text(part, key[0]) for part in columns[key[0].name]]
    return [entity_of(parts, key) for parts in zip(*(columns[part.name] for part in key), strict=True)]


def columns_of(entities: Sequence[str], key: Key) -> dict[str, list[Part]]:
    """The key columns of a frame with a row for each entity; raises InvalidInput."""
    if len(key) == 1 and key[0].datatype == TEXT:
        return {key[0].name: list(entities)}
    rows = [parts_of(entity, key) for entity in entities]
    return {part.name: [row[i] for row in rows] for i, part in enumerate(key)}


def names_of(key: Key) -> str:
    """`carrier, flight`: how messages name a key."""
    return ", ".join(each.name for each in key)


def said(entity: str, key: Key) -> str:
    """`carrier=AA flight=12`: how people read an entity."""
    return " ".join(f"{of.name}={part}" for of, part in zip(key, parts_of(entity, key), strict=True))


def _text(part: object, of: JoinKey) -> str:
    return part if type(part) is str else str(_checked(part, of))


def _checked(part: object, of: JoinKey) -> Part:
    """`part` as the plain value that its datatype wants."""
    if of.datatype == TEXT and isinstance(part, str):
        return str(part)
    if of.datatype == BOOLEAN and isinstance(part, bool):
        return part
    if of.datatype in LIMITS and isinstance(part, int) and not isinstance(part, bool):
        low, high = LIMITS[of.datatype]
        if low <= part <= high:
            return int(part)
    shown = repr(part)
    raise InvalidInput(
        f"'{of.name}' is {shown if len(shown) <= 60 else shown[:57] + '...'}, required a value of type {of.datatype}"
    )


def _refused(entity: str, key: Key) -> InvalidInput:
    what = key[0].datatype if len(key) == 1 else f"a JSON array of {names_of(key)} ({', '.join(each.datatype for each in key)})"
    return InvalidInput(f"entity '{_short(entity)}' is no key of this model, required {what}")


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."
