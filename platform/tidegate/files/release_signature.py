"""The signature of a release: `manifest.sig` beside the manifest, outside of the digest, which it signs.

It is a signed note (`tidegate.domain.signed_notes`) whose text names the digest, so it may be added to a release that was built
before there were signatures, and moves with the folder. Which keys count is said by whoever loads the release, never by it.
"""

from __future__ import annotations

from pathlib import Path

from tidegate.domain.digests import is_digest
from tidegate.domain.errors import IntegrityError
from tidegate.domain.signed_notes import MOST_BYTES, SignedNote, parse_note

SIGNATURE = "manifest.sig"
KEY_NAME = "tidegate/release"
BUILT, SIGNED = "release", "release.signed"  # entries of the ledger by whose `digest` a release may be served


def release_text(digest: str) -> str:
    """What is signed."""
    return f"{KEY_NAME}\nsha256:{digest}\n"


def read_signature(folder: Path) -> SignedNote | None:
    """The note beside the manifest of the release in `folder`, None where there is none.

    Raises IntegrityError for what is no signature, or one of another release. Whoever asks checks who signed it.
    """
    digest = folder.name
    name = f"release {digest[:12] if is_digest(digest) else digest}"
    try:
        with (folder / SIGNATURE).open("rb") as handle:
            note = parse_note(handle.read(MOST_BYTES + 1))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise IntegrityError(f"{name}: {SIGNATURE} cannot be read ({error}); remove it and sign the release again") from error
    if note.text != release_text(digest):
        raise IntegrityError(f"{name}: {SIGNATURE} is of another release; remove it and sign this one")
    return note
