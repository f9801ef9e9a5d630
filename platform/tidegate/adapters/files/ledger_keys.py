"""The key that signs the ledger's heads, as files.

KEYS/ledger.key         private key, mode 0600;   KEYS/ledger.pub: public key, all that verification needs
"""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from tidegate.domain.errors import IntegrityError

ADVICE = "run 'tidegate ledger verify', and restore the ledger and its keys from a backup if it was changed"


def read_public(path: Path) -> Ed25519PublicKey:
    """Raises IntegrityError for a key that is missing or none."""
    try:
        key = load_pem_public_key(path.read_bytes())
    except FileNotFoundError as error:
        raise IntegrityError(f"ledger: the public key {path} is missing; {ADVICE}") from error
    except ValueError as error:
        raise IntegrityError(f"ledger: {path} is no public key ({error}); {ADVICE}") from error
    if not isinstance(key, Ed25519PublicKey):
        raise IntegrityError(f"ledger: {path} is no Ed25519 public key; {ADVICE}")
    return key


def read_private(path: Path) -> Ed25519PrivateKey:
    """Raises IntegrityError for what is no key."""
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError) as error:
        raise IntegrityError(f"ledger: {path} is no private key ({error}); {ADVICE}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise IntegrityError(f"ledger: {path} is no Ed25519 key; {ADVICE}")
    return key


def private_pem(key: Ed25519PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def public_pem(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
