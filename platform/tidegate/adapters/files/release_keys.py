"""The key that signs a state folder's releases, and checking a release's signature by the keys that one trusts.

KEYS/release.key        private key, mode 0600, made when the first release is signed
KEYS/release.pub        public key, one line: NAME+ID+BASE64, as in TIDEGATE_TRUSTED_KEYS, `trustedKeys` and charts' values
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from tidegate.adapters.files.ledger_keys import private_pem
from tidegate.adapters.files.note_keys import sign_note, signer_of, verifier_key
from tidegate.domain.errors import IntegrityError, InvalidInput, Unavailable
from tidegate.domain.signed_notes import VerifierKey
from tidegate.files.durable_files import locked, replace_durably
from tidegate.files.release_signature import KEY_NAME, SIGNATURE, read_signature, release_text

TRUSTED_KEYS = "TIDEGATE_TRUSTED_KEYS"  # environment variable: public keys, apart by white space
SIGN = "'tidegate release sign'"


class ReleaseKeys:
    """The key pair of a state folder, in `folder` (its `keys/`)."""

    def __init__(self, folder: Path) -> None:
        self._private = folder / "release.key"
        self._public = folder / "release.pub"

    def public(self) -> VerifierKey | None:
        """None where nothing was signed yet. Raises IntegrityError for what is no key."""
        try:
            return VerifierKey.parse(self._public.read_text("utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise IntegrityError(f"the public key {self._public} cannot be used ({error}); restore it from a backup") from error

    def sign(self, release: Path) -> None:
        """Sign the release in a folder that is named by its digest. Raises Unavailable where nothing can be written."""
        try:
            with locked(self._private.with_suffix(".lock")):
                key = self._key()
        except OSError as error:
            raise Unavailable(f"signing release {release.name[:12]}: {self._private}: {error.strerror or error}") from error
        replace_durably(release / SIGNATURE, sign_note(release_text(release.name), KEY_NAME, key).to_bytes())

    def _key(self) -> Ed25519PrivateKey:
        if self._private.exists():
            try:
                key = load_pem_private_key(self._private.read_bytes(), password=None)
            except (ValueError, TypeError) as error:
                raise IntegrityError(f"{self._private} is no private key ({error}); restore it from a backup") from error
            if not isinstance(key, Ed25519PrivateKey):
                raise IntegrityError(f"{self._private} is no Ed25519 key; restore it from a backup")
        else:
            key = Ed25519PrivateKey.generate()
            replace_durably(self._private, private_pem(key))
            self._private.chmod(0o600)
        line = f"{verifier_key(KEY_NAME, key.public_key())}\n"
        if not self._public.is_file() or self._public.read_text("utf-8") != line:
            replace_durably(self._public, line.encode())
        return key


def parse_keys(texts: Iterable[str]) -> tuple[VerifierKey, ...]:
    """Raises InvalidInput naming what is no key."""
    keys = []
    for text in texts:
        try:
            keys.append(VerifierKey.parse(text))
        except ValueError as error:
            raise InvalidInput(f"trusted key '{text[:60]}': {error}; required is the line of a keys/release.pub") from error
    return tuple(keys)


def environment_keys() -> tuple[VerifierKey, ...]:
    return parse_keys(os.environ.get(TRUSTED_KEYS, "").split())


def keys_beside(release: Path) -> tuple[VerifierKey, ...]:
    """What counts where a release is packed, in the state folder that it lies in: that folder's key, and the environment's."""
    own = ReleaseKeys(release.resolve().parent.parent / "keys").public()
    return (*([own] if own else []), *environment_keys())


def unsigned(folder: Path, trusted: Sequence[VerifierKey]) -> str:
    """Why the release in `folder` counts as not signed; empty where a trusted key signed it. Raises IntegrityError for a
    signature that is none."""
    note = read_signature(folder)
    if note is None:
        return f"there is no {SIGNATURE} beside its manifest"
    if signer_of(note, trusted) is None:
        signers = ", ".join(f"{s.name} {s.key_id.hex()}" for s in note.signatures) or "nobody"
        keys = ", ".join(key.id.hex() for key in trusted) or "none"
        return f"it is signed by {signers}, and the keys trusted here are {keys}"
    return ""


def require_signed(folder: Path, trusted: Sequence[VerifierKey]) -> None:
    """What a process that serves a release asks before it loads it. Raises IntegrityError."""
    if problem := unsigned(folder.resolve(), trusted):
        raise IntegrityError(
            f"release {folder.resolve().name[:12]} is not served: {problem}; it has to be signed by a key of --trusted-key or "
            f"{TRUSTED_KEYS}, and {SIGN} signs one that you vouch for"
        )
