"""A checkpoint: how far the ledger had come, signed by its key and kept where the ledger's writer does not write by accident.

A ledger that is cut, replaced or written anew, with its head and its keys, verifies in itself; it differs from the checkpoint.
The text has the three lines of C2SP's `tlog-checkpoint` (origin, number of entries, hash), in a signed note; the hash is that
of the chain's last entry, and not of a Merkle tree.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass

from tidegate.domain.errors import IntegrityError
from tidegate.domain.signed_notes import SignedNote, VerifierKey, parse_note
from tidegate.ledger.chain import Head

ORIGIN = "tidegate/ledger"  # the name of the ledger's key, too


@dataclass(frozen=True)
class Checkpoint:
    """`hash` is that of entry `sequence`, the last one then."""

    sequence: int
    hash: str

    def to_text(self) -> str:
        return f"{ORIGIN}\n{self.sequence}\n{base64.b64encode(bytes.fromhex(self.hash)).decode()}\n"

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """Raises ValueError. Lines after the third are extensions of the format, and ignored."""
        origin, sequence, digest, *_ = text.split("\n")
        value = base64.b64decode(digest, validate=True)
        if origin != ORIGIN or not (sequence.isascii() and sequence.isdecimal()) or len(value) != 32:
            raise ValueError("it is no checkpoint of this kind of ledger")
        return cls(int(sequence), value.hex())


def read_checkpoint(content: bytes, place: str) -> tuple[Checkpoint, SignedNote]:
    """Raises IntegrityError for what is no checkpoint. Whoever asks checks the signature."""
    try:
        note = parse_note(content)
        return Checkpoint.parse(note.text), note
    except ValueError as error:
        raise IntegrityError(
            f"the checkpoint at {place} cannot be read as one ({error}): it was damaged or replaced; restore it"
        ) from error


def difference(checkpoint: Checkpoint, hash_of: Callable[[int], str], head: Head, place: str) -> str:
    """How a ledger that verifies in itself differs from its checkpoint; empty where it goes on from there. `hash_of` gives the
    hash of the entry with a sequence number."""
    if checkpoint.sequence > head.sequence:
        return (
            f"it has {head.sequence} entries, and had {checkpoint.sequence} when the checkpoint at {place} was written: it was "
            "cut, or an older copy was put back"
        )
    if checkpoint.sequence == 0:
        return ""
    found = hash_of(checkpoint.sequence)
    if found != checkpoint.hash:
        return (
            f"entry {checkpoint.sequence} has hash {found[:12]}, the checkpoint at {place} names {checkpoint.hash[:12]}: "
            "the ledger was replaced or written anew"
        )
    return ""


def another_key(note: SignedNote, key: VerifierKey, place: str) -> str:
    signers = ", ".join(f"{s.name} {s.key_id.hex()}" for s in note.signatures) or "nobody"
    return (
        f"the checkpoint at {place} is signed by {signers}, and not by the ledger's key {key.id.hex()}: the ledger was "
        "replaced, or its key, or the checkpoint"
    )
