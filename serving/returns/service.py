"""Returned items: an image and what was ordered in, category and condition out, or the word that a person has to look.

An image is 28 rows of 28 bytes, the item bright on black, in base64. Of items that nobody has to look at, both answers are
right in about 98 of 100 cases, as far as the images are of the kind that it was calibrated on (docs/models/returns.md).
"""

from __future__ import annotations

import base64
import binascii
from typing import Annotated

import bentoml
import numpy as np
from pydantic import AfterValidator, Field

from tidegate.api.serving import Call, Endpoint, Message

CATEGORIES = ("t_shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle_boot")
CONDITIONS = ("intact", "stained", "torn", "blurred", "wrong_item")
SIDE = 28
UNKNOWN = -1  # of what was ordered


def _pixels(text: str) -> str:
    try:
        size = len(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError) as error:
        raise ValueError("an image must be base64") from error
    if size != SIDE * SIDE:
        raise ValueError(f"an image has {SIDE} x {SIDE} bytes, got {size}")
    return text


def _known(name: str | None) -> str | None:
    if name is not None and name not in CATEGORIES:
        raise ValueError(f"categories are {', '.join(CATEGORIES)}")
    return name


Image = Annotated[str, Field(min_length=1048, max_length=1048), AfterValidator(_pixels)]
Category = Annotated[str, Field(max_length=32), AfterValidator(_known)]


class Item(Message):
    """A returned item; `ordered` is the category that the customer had ordered, if it is known."""

    image: Image
    ordered: Category | None = None


class Returns(Message):
    items: Annotated[list[Item], Field(min_length=1, max_length=200, description="answered in this order")]


class Judgement(Message):
    """The likeliest category and condition with their chances; `review`: too unsure, a person looks."""

    category: str
    category_chance: float
    condition: str
    condition_chance: float
    review: bool


class Judgements(Message):
    model: str
    release: str
    items: list[Judgement]


def judge(call: Call, request: Returns) -> Judgements:
    """All items in one prediction."""
    pixels = b"".join(base64.b64decode(item.image) for item in request.items)
    images = np.frombuffer(pixels, np.uint8).reshape(-1, SIDE, SIDE)
    ordered = [CATEGORIES.index(item.ordered) if item.ordered else UNKNOWN for item in request.items]
    outputs = call.predict(inputs={"images": images, "ordered": np.array(ordered, np.int64)}).outputs
    rows = zip(outputs["category"], outputs["condition"], outputs["review"].ravel(), strict=True)
    return Judgements(model=call.model, release=call.release, items=[_told(*row) for row in rows])


def _told(category: np.ndarray, condition: np.ndarray, review: np.bool_) -> Judgement:
    first, second = int(category.argmax()), int(condition.argmax())
    return Judgement(
        category=CATEGORIES[first],
        category_chance=float(category[first]),
        condition=CONDITIONS[second],
        condition_chance=float(condition[second]),
        review=bool(review),
    )


endpoint = Endpoint("/predict", Returns, Judgements, judge)


@bentoml.service(name="returns", traffic={"timeout": 10})
class ReturnedItems:
    """Category and condition of returned items."""

    @bentoml.api(route="/predict")
    async def predict(self, request: Returns, /) -> Judgements:
        """Judge each item by its image and what was ordered."""
        return endpoint.answer(request)
