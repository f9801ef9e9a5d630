"""What of a client's text is shown again: never more than a little, and in a record not even that.

Messages that answer a client may quote what it sent, `shown` short and printable. Records and logs outlive the request and
are read by others: there whatever is quoted is left out, but for words of the release's own (names of inputs, outputs, fields).
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

SHOWN_AT_MOST = 60
MESSAGE_AT_MOST = 500
RECORDED_AT_MOST = 200
_QUOTED = re.compile(r"'([^']*)'|\"((?:[^\"\\]|\\.)*)\"")


def shown(value: Any) -> str:
    """`value` in quotes, printable and short."""
    text = str(value) if not isinstance(value, str) else value
    escaped = text[: SHOWN_AT_MOST + 1].encode("unicode_escape", "surrogatepass").decode("ascii").replace("'", "\\x27")
    return f"'{escaped}'" if len(escaped) <= SHOWN_AT_MOST else f"'{escaped[: SHOWN_AT_MOST - 3]}...'"


def bounded(message: str, length: int = MESSAGE_AT_MOST) -> str:
    """A message in printable text, cut at `length`; line ends become blanks."""
    text = " ".join(message[: 4 * length].split())
    text = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
    return text if len(text) <= length else text[: length - 3] + "..."


def redacted(message: str, known: Collection[str]) -> str:
    """A message as records keep it: quoted text is left out unless it is one of the `known` words."""

    def keep(match: re.Match[str]) -> str:
        return match[0] if (match[1] if match[1] is not None else match[2]) in known else "'...'"

    return bounded(_QUOTED.sub(keep, message), RECORDED_AT_MOST)
