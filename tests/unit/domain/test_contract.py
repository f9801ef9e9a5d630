"""The contract of a model says what it could say before in the bytes that it had before, and more where there is more."""

from __future__ import annotations

import json

from tidegate.domain.contract import FeatureContract, InputTensor, keyed
from tidegate.domain.digests import canonical_json
from tidegate.domain.keys import JoinKey

PLAIN = FeatureContract("s", "product", {"view": ("a", "b")}, ("view__a", "view__b"))


def test_a_contract_of_one_text_key_has_no_field_that_came_later() -> None:
    assert set(PLAIN.to_json()) == {"service", "entity", "stored", "vector", "request", "on_demand", "derived"}
    assert PLAIN.key == (JoinKey("product"),)
    assert PLAIN.tensors == (InputTensor("features", "FP32", (-1, 2), ("view__a", "view__b")),)
    assert PLAIN.asked == ()


def test_a_contract_of_everything_is_read_as_it_was_written() -> None:
    entity, join_keys = keyed({"carrier": "BYTES", "flight": "INT64"})
    whole = FeatureContract(
        "s",
        entity,
        {"view": ("a", "kind")},
        ("view__a", "view__kind"),
        join_keys=join_keys,
        types={"view__kind": "BYTES"},
        inputs=(
            InputTensor("features", "FP32", (-1, 1), ("view__a",)),
            InputTensor("kind", "BYTES", (-1, 1), ("view__kind",)),
            InputTensor("image", "UINT8", (-1, 28, 28)),
        ),
        ttl={"view": 3600.0},
    )
    read = FeatureContract.from_bytes(canonical_json(whole.to_json()), "here")
    assert read == whole
    assert read.key_names == ("carrier", "flight")
    assert [each.name for each in read.asked] == ["image"]
    assert read.schema_digest == whole.schema_digest


def test_how_long_a_value_holds_changes_nothing_of_what_the_model_is_given() -> None:
    later = FeatureContract.from_bytes(json.dumps({**PLAIN.to_json(), "ttl": {"view": 60}}).encode(), "here")
    assert later.schema_digest == PLAIN.schema_digest


def test_a_model_without_features_has_no_key() -> None:
    image = FeatureContract("", "", {}, (), inputs=(InputTensor("image", "UINT8", (-1, 28, 28)),))
    assert image.key == ()
    assert image.asked == image.tensors


def test_a_key_is_written_by_its_label_alone_where_that_says_it() -> None:
    assert keyed({"product": "BYTES"}) == ("product", ())
    assert keyed({"store": "INT64"}) == ("store", (JoinKey("store", "INT64"),))
    assert keyed({}) == ("", ())


def test_a_view_may_have_a_part_of_the_key() -> None:
    label, join_keys = keyed({"carrier": "BYTES", "flight": "INT64"})
    contract = FeatureContract("s", label, {"a": ("x",), "b": ("y",)}, (), join_keys=join_keys, view_keys={"b": ("carrier",)})
    assert contract.key_of("a") == contract.key
    assert contract.key_of("b") == (JoinKey("carrier"),)
    assert FeatureContract.from_bytes(canonical_json(contract.to_json()), "here") == contract
