"""Keys are read as people write them, and what is no key of the model is named."""

from __future__ import annotations

import pytest

from tidegate.domain.errors import InvalidInput
from tidegate.domain.key_texts import entity_from_text
from tidegate.domain.keys import JoinKey, Key

PRODUCT: Key = (JoinKey("product"),)
STORE: Key = (JoinKey("store", "INT64"),)
FLIGHT: Key = (JoinKey("carrier"), JoinKey("flight", "INT64"))


@pytest.mark.parametrize(
    ("text", "key", "entity"),
    [
        ("85123A", PRODUCT, "85123A"),
        ('["x"]', PRODUCT, '["x"]'),
        ("product=a,b", PRODUCT, "a,b"),
        ("-12", STORE, "-12"),
        ("store=7", STORE, "7"),
        ('{"store": 7}', STORE, "7"),
        ("carrier=AA,flight=12", FLIGHT, '["AA",12]'),
        ("flight=12,carrier=AA", FLIGHT, '["AA",12]'),
        ('{"flight": 12, "carrier": "A,A"}', FLIGHT, '["A,A",12]'),
        ('["AA", 12]', FLIGHT, '["AA",12]'),
        ("late=TRUE", (JoinKey("late", "BOOL"),), "true"),
    ],
)
def test_a_key_is_read_as_people_write_it(text: str, key: Key, entity: str) -> None:
    assert entity_from_text(text, key) == entity


@pytest.mark.parametrize(
    ("text", "key", "message"),
    [
        ("AA", FLIGHT, r"'AA' has not exactly the parts carrier, flight; write carrier=AA,flight=12 or JSON"),
        ("carrier=AA,flight=x", FLIGHT, "'flight' is 'x', required a value of type INT64"),
        ('{"carrier": "AA"}', FLIGHT, "not exactly the parts"),
        ('["AA"]', FLIGHT, "has 2 parts, got 1"),
        ('["AA", "12"]', FLIGHT, "'flight' is '12', required a value of type INT64"),
        ("{", FLIGHT, "is no JSON"),
        ("x", STORE, "'store' is 'x', required a value of type INT64"),
        ("x", (), "the model has no key"),
    ],
)
def test_what_is_no_key_of_the_model_is_named(text: str, key: Key, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        entity_from_text(text, key)
