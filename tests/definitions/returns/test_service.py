"""The typed service: images in base64 and categories by name in, names out; what is no image is refused by name."""

from __future__ import annotations

import base64
import json
import runpy
from pathlib import Path

import numpy as np
import pytest
from pipelines.returns import damage

from tidegate.domain.errors import InvalidInput

SERVICE = runpy.run_path(str(Path(__file__).parents[3] / "serving/returns/service.py"))
IMAGE = base64.b64encode(bytes(784)).decode()


def test_its_names_are_those_of_the_pipeline():
    assert (SERVICE["CATEGORIES"], SERVICE["CONDITIONS"]) == (damage.CATEGORIES, damage.CONDITIONS)


def test_images_and_orders_reach_the_model_as_tensors():
    class Call:
        model, release = "returns", "returns@1"

        def predict(self, inputs):
            self.inputs = inputs
            outputs = {"category": np.eye(10)[[6, 0]], "condition": np.eye(5)[[0, 4]], "review": np.array([False, True])}
            return type("Prediction", (), {"outputs": outputs})

    call = Call()
    request = SERVICE["endpoint"].parse(
        b'{"items": [{"image": "%s", "ordered": "shirt"}, {"image": "%s"}]}' % (IMAGE.encode(), IMAGE.encode())
    )
    answer = SERVICE["judge"](call, request)
    assert call.inputs["images"].shape == (2, 28, 28)
    assert call.inputs["ordered"].tolist() == [6, -1]
    assert [(each.category, each.condition, each.review) for each in answer.items] == [
        ("shirt", "intact", False),
        ("t_shirt", "wrong_item", True),
    ]


@pytest.mark.parametrize(
    ("item", "named"),
    [
        ({"image": IMAGE, "ordered": "hat"}, "categories are t_shirt"),
        ({"image": "AAAA"}, "items.0.image"),
        ({"image": "*" * 1048}, "base64"),
        ({"image": base64.b64encode(bytes(786)).decode()}, "28 x 28 bytes, got 786"),
    ],
)
def test_what_is_no_image_or_category_is_refused(item: dict[str, str], named: str):
    with pytest.raises(InvalidInput, match=named):
        SERVICE["endpoint"].parse(json.dumps({"items": [item]}).encode())
