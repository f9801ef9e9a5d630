"""Keys as people write them: `85123A`, `carrier=AA,flight=12`, `{"carrier": "AA", "flight": 12}`, `["AA", 12]`."""

from __future__ import annotations

import json
from typing import Any

from tidegate.domain.errors import InvalidInput
from tidegate.domain.keys import BOOLEAN, TEXT, JoinKey, Key, Part, entity_of, names_of

BOOLEANS = {"true": True, "false": False}


def entity_from_text(text: str, key: Key) -> str:
    """The entity that `text` says; raises InvalidInput.

    A key of one String is taken as it stands, unless it is written with its name.
    """
    if not key:
        raise InvalidInput("the model has no key: it reads no features")
    only = key[0] if len(key) == 1 else None
    if only and text.startswith(f"{only.name}="):
        return entity_of([_part(text.partition("=")[2], only)], key)
    if only and only.datatype == TEXT:
        return text
    if text[:1] in "[{":
        return entity_of(_of_json(text, key), key)
    if only:
        return entity_of([_part(text, only)], key)
    given = dict(each.partition("=")[::2] for each in text.split(","))
    return entity_of(_in_order(given, text, key, written=True), key)


def _of_json(text: str, key: Key) -> list[Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"key '{text}' is no JSON ({error}); write {_example(key)}") from error
    return value if isinstance(value, list) else _in_order(value, text, key, written=False)


def _in_order(given: dict[str, Any], text: str, key: Key, written: bool) -> list[Any]:
    if set(given) != {part.name for part in key}:
        raise InvalidInput(f"key '{text}' has not exactly the parts {names_of(key)}; write {_example(key)}")
    return [_part(given[part.name], part) if written else given[part.name] for part in key]


def _part(text: str, of: JoinKey) -> Part:
    if of.datatype == TEXT:
        return text
    if of.datatype == BOOLEAN and text.lower() in BOOLEANS:
        return BOOLEANS[text.lower()]
    try:
        return int(text)
    except ValueError as error:
        raise InvalidInput(f"'{of.name}' is '{text}', required a value of type {of.datatype}") from error


def _example(key: Key) -> str:
    shown = {TEXT: "AA", BOOLEAN: "true"}
    return ",".join(f"{part.name}={shown.get(part.datatype, '12')}" for part in key) + " or JSON"
