"""Documents outlive the code that wrote them: how each is read, whatever version of Tidegate wrote it.

A document is a JSON object, addressed (where it is addressed) by a digest of its bytes as they lie on disk, never by one of
what was read from it. Its key `schema` names the version of its format; a document without the key has version 1.

- A reader takes every version ever written: `upgrades[n]` turns what version n wrote into what version n + 1 would have.
- A newer version than the reader knows is refused (`WrittenByNewer`).
- Within a version only optional keys are added (`added`). A key that the reader does not know is ignored where it informs
  (`Unknown.IGNORED`: lineage, manifest, ended rollouts) and refused where it decides (`Unknown.REFUSED`: what is asked of a
  release, how its vectors are made, what is wanted of a target): to leave out a rule that the writer asked for is not safe.
  Whoever adds a key that an IGNORED format's older readers must not ignore raises the version.

Types are checked by msgspec, strictly: damage is found where a document is read, not where its value is used.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

import msgspec

from tidegate.domain.errors import IntegrityError

T = TypeVar("T")
Json = dict[str, Any]
Upgrade = Callable[[Json], Json]
SCHEMA = "schema"
_ADDED = "tidegate.added"


class WrittenByNewer(IntegrityError):
    """A document is whole, but this version cannot read it."""


class Unknown(Enum):
    """What becomes of keys that a reader does not know."""

    IGNORED = auto()
    REFUSED = auto()


@dataclass(frozen=True)
class Format:
    """One kind of document: its name in messages, the newest version and how older ones become it, and unknown keys."""

    name: str
    unknown: Unknown
    newest: int = 1
    upgrades: Mapping[int, Upgrade] = field(default_factory=dict)

    def parse(self, content: bytes, where: str) -> Json:
        """The document in `content` in the form of the newest version; raises IntegrityError that names `where`."""
        try:
            value = msgspec.json.decode(content)
        except (msgspec.DecodeError, RecursionError) as error:
            raise IntegrityError(f"{where}: the {self.name} is not JSON ({error}); it is damaged, restore it") from error
        return self.upgraded(value, where)

    def upgraded(self, value: Any, where: str) -> Json:
        """A parsed document in the form of the newest version, without its key `schema`."""
        if not isinstance(value, Mapping):
            raise IntegrityError(f"{where}: the {self.name} is no JSON object, it is {_kind(value)}; it is damaged, restore it")
        document = dict(value)
        version = document.pop(SCHEMA, 1)
        if isinstance(version, bool) or not isinstance(version, int) or version < 1:
            raise IntegrityError(
                f"{where}: the {self.name} has schema {version!r}, required a whole number from 1 to {self.newest}; restore it"
            )
        if version > self.newest:
            raise WrittenByNewer(
                f"{where}: the {self.name} has schema {version}, this Tidegate reads at most {self.newest}: it was written by "
                "a newer one; use that"
            )
        for step in range(version, self.newest):
            document = self.upgrades[step](document)
        return document

    def read(self, value: Any, kind: type[T], where: str) -> T:
        """The document as a `kind`, a dataclass whose optional fields have defaults; raises IntegrityError."""
        return self.convert(self.upgraded(value, where), kind, where)

    def convert(self, document: Any, kind: type[T], where: str, **made: Any) -> T:
        """A part of a document, upgraded already, as a `kind`; fields in `made` are those that the caller made."""
        try:
            read = _with(document, kind, made) if made else msgspec.convert(document, kind)
        except msgspec.ValidationError as error:
            raise IntegrityError(f"{where}: the {self.name} cannot be read ({error}); it is damaged, restore it") from error
        if self.unknown is Unknown.REFUSED:
            self.refuse(unknown_keys(document, kind), where)
        return read

    def refuse(self, unknown: Iterator[str], where: str) -> None:
        """Raise IntegrityError for the first of `unknown` keys, if there is one."""
        key = next(unknown, None)
        if key is not None:
            raise WrittenByNewer(
                f"{where}: the {self.name} has '{key}', which this Tidegate does not know and may not ignore: it was written "
                "by a newer one; use that"
            )


def added(**default: Any) -> Any:
    """A field that a format got later: optional, and not written while it has its default, so that what says the same has the
    same bytes, and the same digest, as before the field was there."""
    return field(**default, metadata={_ADDED: True})


def document(value: Any) -> Any:
    """Plain JSON of a dataclass and what it is made of."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            each.name: document(getattr(value, each.name))
            for each in dataclasses.fields(value)
            if not (each.metadata.get(_ADDED) and getattr(value, each.name) == _default(each))
        }
    if isinstance(value, Mapping):
        return {str(key): document(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [document(part) for part in value]
    return value.value if isinstance(value, Enum) else value


def _default(of: dataclasses.Field[Any]) -> Any:
    return of.default if of.default_factory is dataclasses.MISSING else of.default_factory()


def unknown_keys(value: Any, kind: Any, path: str = "") -> Iterator[str]:
    """Keys of `value` that dataclass `kind`, or one that it is made of, has no field for, as `gates.cost`."""
    if dataclasses.is_dataclass(kind) and isinstance(value, Mapping):
        hints = get_type_hints(kind)
        known = {each.name for each in dataclasses.fields(kind)}
        for key, part in value.items():
            if key in known:
                yield from unknown_keys(part, hints[key], f"{path}{key}.")
            else:
                yield f"{path}{key}"
    elif isinstance(value, Mapping) and len(get_args(kind)) == 2:  # a mapping of names to something
        for key, part in value.items():
            yield from unknown_keys(part, get_args(kind)[1], f"{path}{key}.")
    elif isinstance(value, list) and get_origin(kind) is tuple:
        for number, part in enumerate(value):
            yield from unknown_keys(part, get_args(kind)[0], f"{path}{number}.")


def _with(document: Any, kind: type[T], made: Mapping[str, Any]) -> T:
    """A `kind` of fields that were made, and others that msgspec converts: it knows no union of dataclasses."""
    hints = get_type_hints(kind)
    names = [each.name for each in dataclasses.fields(cast(Any, kind)) if each.name not in made]
    optional = {each.name for each in dataclasses.fields(cast(Any, kind)) if _is_optional(each)}
    for name in names:
        if name not in document and name not in optional:
            raise msgspec.ValidationError(f"Object missing required field `{name}`")
    return kind(**{name: msgspec.convert(document[name], hints[name]) for name in names if name in document}, **made)


def _is_optional(of: dataclasses.Field[Any]) -> bool:
    return of.default is not dataclasses.MISSING or of.default_factory is not dataclasses.MISSING


def _kind(value: Any) -> str:
    return "null" if value is None else f"a {type(value).__name__}"
