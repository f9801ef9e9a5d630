"""The ledger's signed head as a file: what is acknowledged, replaced whole, atomically and durably."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from tidegate.adapters.files.ledger_keys import ADVICE
from tidegate.domain.errors import IntegrityError
from tidegate.files.durable_files import sync_folder
from tidegate.ledger.chain import Head, signed_bytes


def write_head(path: Path, head: Head, key: Ed25519PrivateKey) -> None:
    """Raises OSError."""
    value = head.to_json()
    signature = base64.b64encode(key.sign(signed_bytes(value))).decode()
    replace_file(path, json.dumps({**value, "signature": signature}).encode(), 0o644)


def read_head(path: Path, public: Ed25519PublicKey) -> Head:
    """Raises IntegrityError for one that is missing or not signed by the key, OSError for one that cannot be read."""
    try:
        value = json.loads(path.read_bytes())
        signature = base64.b64decode(value.pop("signature"))
        public.verify(signature, signed_bytes(value))
        return Head.from_json(value)
    except FileNotFoundError as error:
        raise IntegrityError(f"ledger: the signed head {path} is missing; {ADVICE}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, InvalidSignature) as error:
        reason = "its signature does not match" if isinstance(error, InvalidSignature) else "it is no signed head"
        raise IntegrityError(f"ledger: the head {path} cannot be trusted: {reason}; {ADVICE}") from error


def claims_nothing(path: Path) -> bool:
    """Whether the head, signed or not, claims no entry; one that is not there does not."""
    try:
        return int(json.loads(path.read_bytes())["sequence"]) == 0
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return not path.exists()


def replace_file(path: Path, content: bytes, mode: int) -> None:
    """Atomically and durably replace `path`; a reader sees the old or the new content. Raises OSError."""
    temporary = path.with_name(f".{path.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as handle:
        os.fchmod(descriptor, mode)
        handle.write(content)
        handle.flush()
        os.fsync(descriptor)
    temporary.replace(path)
    sync_folder(path.parent)
