"""The key that tests trust: tests/conftest.py puts its public half into the environment."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tidegate.adapters.files.note_keys import sign_note, verifier_key
from tidegate.files.release_signature import KEY_NAME, SIGNATURE, release_text

TEST_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
TRUSTED = str(verifier_key(KEY_NAME, TEST_KEY.public_key()))


def sign_release(folder: Path) -> None:
    """Sign the release in a folder that is named by its digest."""
    (folder / SIGNATURE).write_bytes(sign_note(release_text(folder.name), KEY_NAME, TEST_KEY).to_bytes())
