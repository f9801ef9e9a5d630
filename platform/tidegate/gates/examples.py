"""Requests named in evidence: few, short and printable, because clients choose what is in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from tidegate.ports.inference_records import InferenceRecord, RequestHead

NAMED = 3
LONGEST = 80


def printable(text: str, longest: int = LONGEST) -> str:
    """`text` in ASCII without control characters, cut to `longest`."""
    plain = text[: longest + 1].encode("unicode_escape").decode("ascii")
    return plain if len(plain) <= longest else plain[: longest - 3] + "..."


def named(records: Sequence[InferenceRecord] | Sequence[RequestHead]) -> str:
    """`route predict, status 422, first ids a, b, c ('code has at most 5 characters')`."""
    if not records:
        return "none"
    routes = sorted({printable(r.route, 20) for r in records if r.route})
    statuses = Counter(r.status for r in records)
    parts = [f"route {' and '.join(routes[:NAMED])}"] if routes else []
    parts.append("status " + ", ".join(str(status) for status, _ in statuses.most_common(NAMED)))
    parts.append("first ids " + ", ".join(printable(r.id, 40) for r in records[:NAMED]))
    error = next((r.error for r in records if r.error), "")
    return ", ".join(parts) + (f" ('{printable(error)}')" if error else "")
