"""What a gate has counted in the stage under way, a small file a gate: whoever takes over goes on from there.

A file belongs to one stage, named by `of`; of another stage it is none. One that cannot be read is none either, and what
cannot be written is kept in memory alone: a full disk must not end a rollout. Either costs what was counted, and no more.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tidegate.domain.errors import IntegrityError, Unavailable
from tidegate.files.durable_files import read_json, replace_if_other

logger = logging.getLogger("tidegate.gates")
SCHEMA = 1


@dataclass(frozen=True)
class KeptCounts:
    """Files `<gate>.json` in `folder`; without one, nothing outlives the process."""

    folder: Path | None = None

    def read(self, gate: str, of: Any) -> dict[str, Any]:
        """What `write` was given for the same stage, empty where there is nothing."""
        if self.folder is None:
            return {}
        try:
            found = read_json(self.folder / f"{gate}.json", f"what gate '{gate}' has counted", _counts, "it is counted anew")
        except (IntegrityError, Unavailable) as error:
            logger.warning("%s", error)
            return {}
        return found[1] if found is not None and found[0] == of else {}

    def write(self, gate: str, of: Any, counts: dict[str, Any]) -> None:
        """Raises TypeError or ValueError for counts that are no plain JSON."""
        content = json.dumps({"schema": SCHEMA, "of": of, "counts": counts}, allow_nan=False).encode()
        if self.folder is None:
            return
        try:
            replace_if_other(self.folder / f"{gate}.json", content)
        except Unavailable as error:
            logger.warning("gate '%s': what it has counted is in memory alone: %s", gate, error)


def _counts(value: Any) -> tuple[Any, dict[str, Any]]:
    if value["schema"] != SCHEMA:
        raise ValueError(f"it has schema {value['schema']!r}, this Tidegate reads {SCHEMA}")
    return value["of"], dict(value["counts"])
