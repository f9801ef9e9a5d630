"""What the rows of a view hold, and its bytes: numbers first, then texts.

The values of a row are little-endian float64, one a number in the order of their names, NaN where null; where the view has
texts, a MessagePack array of them follows, nil where null. The schema of a view is the first 8 bytes of a digest of its names;
of a view with texts the digest covers which is which, so no reader, of whatever version, takes one for another.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

import msgspec
import numpy as np

from tidegate.domain.errors import IntegrityError, InvalidInput

SCHEMA_BYTES = 8
TEXT_BYTES = 4096  # of one text: a category, not a document
Texts = Mapping[str, Sequence[str | None]]

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[str | None]).decode


@dataclass(frozen=True)
class Columns:
    """The names of a view's numbers and of its texts, each in their order."""

    numbers: tuple[str, ...]
    texts: tuple[str, ...] = ()

    @property
    def schema(self) -> bytes:
        return schema_of(self.numbers, self.texts)

    def to_json(self) -> str:
        """As every version wrote it where there are no texts."""
        return json.dumps({"numbers": self.numbers, "texts": self.texts} if self.texts else self.numbers)


class _Named(msgspec.Struct):
    numbers: tuple[str, ...]
    texts: tuple[str, ...]


def schema_of(numbers: Sequence[str], texts: Sequence[str] = ()) -> bytes:
    names = Columns(tuple(numbers), tuple(texts)).to_json() if texts else "\0".join(numbers)
    return sha256(names.encode()).digest()[:SCHEMA_BYTES]


def read_columns(where: str, view: str, content: bytes | str) -> Columns:
    """A view's names as they are stored; raises IntegrityError."""
    try:
        names = msgspec.json.decode(content, type=tuple[str, ...] | _Named)
    except msgspec.MsgspecError as error:
        raise IntegrityError(
            f"online store {where}: the schema of view '{view}' is damaged ({error}); "
            "materialize again with 'tidegate features materialize'"
        ) from error
    return Columns(names.numbers, names.texts) if isinstance(names, _Named) else Columns(names)


def contents(view: str, entities: Sequence[str], values: np.ndarray, texts: Texts) -> list[bytes]:
    """The bytes of each row; raises InvalidInput for a text that is too long."""
    numbers = np.ascontiguousarray(values, dtype="<f8")
    if not texts:
        return [row.tobytes() for row in numbers]
    for name, column in texts.items():
        for entity, text in zip(entities, column, strict=True):
            if text is not None and len(text) > TEXT_BYTES // 4 and len(text.encode()) > TEXT_BYTES:
                raise InvalidInput(
                    f"feature '{view}:{name}' of '{entity[:60]}' is a text of {len(text.encode()):,} bytes, allowed are "
                    f"{TEXT_BYTES:,}; leave it out of the view, or store a category in its place"
                )
    rows = zip(*texts.values(), strict=True)
    return [row.tobytes() + _encode(words) for row, words in zip(numbers, rows, strict=True)]


def read_texts(content: bytes, start: int) -> list[str | None]:
    """The texts after byte `start` of a row's values; raises msgspec's error."""
    return _decode(content[start:])
