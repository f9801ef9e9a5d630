"""Signed notes: a text for people and machines with Ed25519 signatures below it, in the C2SP `signed-note` format.

    tidegate/release                                     the text: what is signed, to its last newline
    sha256:3f2c...

    — tidegate/release 8uEPbgtfb2pz...                   a signature each line: key name, base64(key id, signature)

A key is named and known by one line, `NAME+ID+BASE64` (the format's verifier key), which fits an environment variable. This
module reads and writes the formats and computes nothing secret; `tidegate.adapters.files.note_keys` signs and verifies.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

ED25519 = b"\x01"
MOST_BYTES = 65_536  # of a note: longer ones are not ours
_DASH = "— "


@dataclass(frozen=True)
class VerifierKey:
    """A public Ed25519 key by its name; `public` is its 32 bytes."""

    name: str
    public: bytes

    @property
    def id(self) -> bytes:
        """Four bytes that tell keys apart at a glance; what counts is the signature."""
        return hashlib.sha256(self.name.encode() + b"\n" + ED25519 + self.public).digest()[:4]

    def __str__(self) -> str:
        return f"{self.name}+{self.id.hex()}+{base64.b64encode(ED25519 + self.public).decode()}"

    @classmethod
    def parse(cls, text: str) -> VerifierKey:
        """Raises ValueError for what is no verifier key of Ed25519."""
        parts = text.strip().split("+", 2)
        if len(parts) != 3:
            raise ValueError("it has not the form NAME+ID+BASE64")
        content = base64.b64decode(parts[2], validate=True)
        if len(content) != 33 or content[:1] != ED25519:
            raise ValueError("it is no Ed25519 key")
        key = cls(parts[0], content[1:])
        if not key.name or any(c.isspace() for c in key.name) or key.id.hex() != parts[1]:
            raise ValueError(f"its id is {parts[1]}, computed {key.id.hex()}")
        return key


@dataclass(frozen=True)
class Signature:
    name: str
    key_id: bytes
    value: bytes


@dataclass(frozen=True)
class SignedNote:
    text: str
    signatures: tuple[Signature, ...]

    def to_bytes(self) -> bytes:
        lines = [f"{_DASH}{s.name} {base64.b64encode(s.key_id + s.value).decode()}\n" for s in self.signatures]
        return f"{self.text}\n{''.join(lines)}".encode()


def parse_note(content: bytes) -> SignedNote:
    """Raises ValueError for what is no signed note."""
    if len(content) > MOST_BYTES:
        raise ValueError(f"it has {len(content)} bytes, at most {MOST_BYTES} are read")
    text, found, below = content.decode("utf-8").rpartition("\n\n")
    if not found or not below.endswith("\n"):
        raise ValueError("it has no signature")
    return SignedNote(text + "\n", tuple(_signatures(below.splitlines())))


def _signatures(lines: Sequence[str]) -> list[Signature]:
    found = []
    for line in lines:
        name, _, value = line.removeprefix(_DASH).partition(" ")
        content = base64.b64decode(value, validate=True)
        if not line.startswith(_DASH) or not name or len(content) < 5:
            raise ValueError("a line below its text is no signature")
        found.append(Signature(name, content[:4], content[4:]))
    return found
