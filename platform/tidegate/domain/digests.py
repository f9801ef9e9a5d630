"""Content addressing of values: canonical JSON and its SHA-256.

Canonical JSON has sorted keys, no white space, UTF-8 and no NaN, so equal values have equal digests on every machine.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

DIGEST = re.compile(r"[0-9a-f]{64}")


def canonical_json(value: Any) -> bytes:
    """Canonical UTF-8 JSON of `value`; raises ValueError on NaN and infinities."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def digest_of(value: Any) -> str:
    """SHA-256 (64 hex digits) of the canonical JSON of `value`."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def is_digest(text: str) -> bool:
    return bool(DIGEST.fullmatch(text))
