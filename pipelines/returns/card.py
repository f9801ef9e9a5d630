"""The model card (Mitchell et al., 2019)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from tidegate.api.training import Lineage, provenance

from .parameters import Parameters


def model_card(
    name: str,
    measured: Mapping[str, Mapping[str, float]],
    segments: Mapping[str, float],
    lineage: Lineage,
    parameters: Parameters,
    learned: Mapping[str, float],
) -> str:
    """Markdown."""
    forecasts = list(measured)
    lines = [
        f"# Model card: {name}",
        "",
        "The category (ten) and the condition (intact, stained, torn, blurred, wrong item) of a returned item, by its image "
        "and what was ordered. One small convolutional network: both answers share its first two layers, and each has layers "
        "of its own after them. Calibrated by temperatures; it looks at an image as it is and mirrored. A person has to look "
        "at a return with a confidence below "
        f"{learned['threshold']:.4f}; below {learned['threshold_without_order']:.4f} where nobody knows what was ordered.",
        "",
        "Images are of Fashion-MNIST, the damage is made by stated operations. Not for photographs: the same pipeline has to "
        "be trained on those. Not for damage of other kinds, which it calls intact; and whoever orders what they send back "
        "decides much of the answer, since nine in ten returns are taken to be what was ordered.",
        "",
        "## On items that were not trained on",
        "",
        f"| | {' | '.join(forecasts)} |",
        f"|---|{'---|' * len(forecasts)}",
        *(f"| {m} | {' | '.join(f'{measured[f][m]:.4f}' for f in forecasts)} |" for m in measured["model"]),
        "",
        "## Both answers right, by what is true",
        "",
        *(f"- {segment}: {share:.1%}" for segment, share in segments.items()),
        "",
        *provenance(lineage, asdict(parameters)),
    ]
    return "\n".join(lines) + "\n"
