"""The ledger's checkpoint, signed by the ledger's key: compared before something is appended, written after.

A place that is away never keeps anything from being recorded: it is left alone for a while, and `ledger verify` says that
nothing was compared. A checkpoint that differs is never written over.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from tidegate.adapters.files.note_keys import sign_note, signer_of, verifier_key
from tidegate.domain.errors import IntegrityError, Unavailable
from tidegate.ledger.chain import Head
from tidegate.ledger.checkpoint import ORIGIN, Checkpoint, another_key, difference, read_checkpoint
from tidegate.ports.ledger import CheckpointPlace

AWAY_SECONDS = 10.0
logger = logging.getLogger("tidegate.ledger")


class Checkpoints:
    def __init__(self, place: CheckpointPlace, clock: Callable[[], float] = time.monotonic) -> None:
        self._place, self._clock = place, clock
        self._away, self._away_until = "", -AWAY_SECONDS

    def compare(self, hash_of: Callable[[int], str], head: Head, public: Ed25519PublicKey) -> tuple[str, str]:
        """How the ledger, sound in itself, differs from its checkpoint (empty: not), and what was compared."""
        if self._clock() < self._away_until:
            return "", f"NOT compared: {self._away}"
        try:
            found = self._place.read()
        except Unavailable as error:
            self._is_away(error)
            return "", f"NOT compared: {error}"
        if found is None:
            return "", f"NOT compared: no checkpoint was written to {self._place.name} yet; the next entry writes one"
        try:
            checkpoint, note = read_checkpoint(found, self._place.name)
        except IntegrityError as error:
            return str(error), ""
        key = verifier_key(ORIGIN, public)
        if signer_of(note, [key]) is None:
            return another_key(note, key, self._place.name), ""
        problem = difference(checkpoint, hash_of, head, self._place.name)
        return problem, f"it goes on from the checkpoint of {checkpoint.sequence} entries at {self._place.name}"

    def forbids_to_begin(self) -> str:
        """Why no new ledger can begin here: a checkpoint of an earlier one; empty where there is none."""
        try:
            found = self._place.read()
        except Unavailable as error:
            self._is_away(error)
            return ""
        return f"there is none, but a checkpoint of one at {self._place.name}: it was taken away" if found else ""

    def write(self, head: Head, key: Ed25519PrivateKey) -> None:
        """Never raises Unavailable."""
        if self._clock() < self._away_until:
            return
        note = sign_note(Checkpoint(head.sequence, head.hash).to_text(), ORIGIN, key)
        try:
            self._place.write(note.to_bytes())
        except Unavailable as error:
            self._is_away(error)

    def _is_away(self, error: Unavailable) -> None:
        logger.warning("%s", error)
        self._away, self._away_until = str(error), self._clock() + AWAY_SECONDS
