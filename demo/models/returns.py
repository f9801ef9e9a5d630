"""Returned items; the service of the faulty version hands the model negatives of the images."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from demo.models.case import Body, Case, edit
from demo.models.tale import Tale, Told


def lighten(folder: Path) -> None:
    # fewer items and epochs: what is shown is the way, not the model
    edit(
        folder / "pipelines/returns/pipeline.py",
        ('"epochs": 8', '"epochs": 2'),
        ('"items": 0', '"items": 3000'),
        ('"draws": 8', '"draws": 1'),
    )


def bodies(data: Path, until: str) -> list[Body]:
    """Two items a request, damaged and ordered as returns are."""
    import numpy as np
    import polars as pl
    from pipelines.returns import damage

    rows = pl.read_parquet(data / "products/rows.parquet").sample(800, seed=3)
    categories = np.array([damage.CATEGORIES.index(name) for name in rows["category"]])
    images, _ = damage.damaged(np.frombuffer(b"".join(rows["image"]), np.uint8).reshape(-1, 28, 28), 5)
    ordered = [damage.CATEGORIES[i] for i in damage.ordered(categories, 6)]
    items = [
        {"image": base64.b64encode(image.tobytes()).decode(), "ordered": name}
        for image, name in zip(images, ordered, strict=True)
    ]
    return [{"items": items[n : n + 2]} for n in range(0, len(items), 2)]


def negatives(folder: Path) -> None:
    edit(
        folder / "serving/returns/service.py",
        (
            "images = np.frombuffer(pixels, np.uint8).reshape(-1, SIDE, SIDE)",
            "images = 255 - np.frombuffer(pixels, np.uint8).reshape(-1, SIDE, SIDE)",
        ),
    )


def answers(made: Sequence[Mapping[str, Any]]) -> Told:
    items = [item for answer in made for item in answer["items"]]
    reviewed = sum(item["review"] for item in items)
    damaged = sum(item["condition"] != "intact" for item in items)
    sentence = (
        f"Of {len(items):,} returned items {reviewed:,} ({reviewed / len(items):.0%}) go to people, who look at them; "
        f"{damaged:,} are said to be damaged or another item than was ordered."
    )
    return sentence, {"items": len(items), "reviewed": reviewed, "share_reviewed": reviewed / len(items), "not_intact": damaged}


RETURNS = Case(
    model="returns",
    times=("2026-01-01", "2026-01-02"),
    bodies=bodies,
    lighten=lighten,
    fault=negatives,
    stopped_by=("shadow", "drift"),
    served=True,
    stored=False,
)
TALE = Tale(
    case=RETURNS,
    about="Category and condition of a returned item by its image, and whether a person has to look.",
    raw="Images of products, each with its category",
    figure=("both_right", "Category and condition both right, on items that were not trained on", ".1%"),
    fault="a service that hands the model negatives of the images",
    asked="What share goes to people",
    answers=answers,
)
