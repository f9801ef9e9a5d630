"""Names in a training output that its maker and its readers share; tidegate.files.training_output says what each holds."""

from __future__ import annotations

from pathlib import Path

from tidegate.domain.digests import digest_of
from tidegate.files.digests import folder_files

EVALUATION, SUMMARY, LINEAGE, CARD, PLOTS = "evaluation.parquet", "evaluation.json", "lineage.json", "card.md", "plots"
LOSSES = "losses"  # a loss of one's own, in Python; the platform scores by it


def output_digest(folder: Path) -> str:
    """Digest of a whole training output: the name and the bytes of each of its files."""
    return digest_of(folder_files(folder))
