"""Ed25519 keys for signed notes (`tidegate.domain.signed_notes`): signing one, and finding a trusted key that signed one."""

from __future__ import annotations

from collections.abc import Iterable

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from tidegate.domain.signed_notes import Signature, SignedNote, VerifierKey


def verifier_key(name: str, public: Ed25519PublicKey) -> VerifierKey:
    return VerifierKey(name, public.public_bytes_raw())


def sign_note(text: str, name: str, key: Ed25519PrivateKey) -> SignedNote:
    """`text` ends with a newline."""
    known = verifier_key(name, key.public_key())
    return SignedNote(text, (Signature(name, known.id, key.sign(text.encode())),))


def signer_of(note: SignedNote, trusted: Iterable[VerifierKey]) -> VerifierKey | None:
    """The first of the trusted keys with a true signature on the note; None when there is none."""
    for key in trusted:
        for signature in note.signatures:
            if (signature.name, signature.key_id) != (key.name, key.id):
                continue
            try:
                Ed25519PublicKey.from_public_bytes(key.public).verify(signature.value, note.text.encode())
            except (InvalidSignature, ValueError):
                continue
            return key
    return None
