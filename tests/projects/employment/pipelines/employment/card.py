"""The model card: what the model is for, what it learned from, how good and how fair it is (Mitchell et al., 2019)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tidegate.api.training import provenance

from .evaluation import told

COLUMNS = ("log_loss", "brier", "auc", "f1")


def model_card(
    name: str,
    measured: Mapping[str, Mapping[str, float]],
    fairness: Mapping[str, Any],
    lineage: Any,
    settings: Mapping[str, Any],
    people: tuple[str, int, str, int],
) -> str:
    """Markdown. `people` are the years and the number of people that were learned from, and of those who were scored."""
    learned, n_learned, scored, n_scored = people
    lines = [
        f"# Model card: {name}",
        "",
        "Whether a person is employed, from sixteen answers to the American Community Survey in Massachusetts: the label, and "
        "the probabilities of both. Boosted trees on ordinal codes, one ONNX graph that takes texts.",
        "",
        "For comparing methods on a public task. Not for decisions about people: sex, race and disability are inputs.",
        "",
        f"Learned from {n_learned:,} people of {learned}, scored on {n_scored:,} people of {scored}.",
        "",
        "## Scores",
        "",
        f"| | {' | '.join(COLUMNS)} |",
        f"|---|{'---|' * len(COLUMNS)}",
        *(f"| {each} | {' | '.join(_number(values.get(c)) for c in COLUMNS)} |" for each, values in measured.items()),
        "",
        "## Fairness",
        "",
        "A rate of a group is of its people at a threshold of one half; `calibration` is the mean probability less the share "
        "employed.",
        "",
        *told(fairness),
        *provenance(lineage, settings),
    ]
    return "\n".join(lines) + "\n"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
