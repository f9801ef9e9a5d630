"""An entity is one opaque string, and says exactly its parts again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.domain.errors import InvalidInput
from tidegate.domain.keys import LIMITS, JoinKey, Key, Part, columns_of, entities_of, entity_of, parts_of, said

FLIGHT: Key = (JoinKey("carrier"), JoinKey("flight", "INT64"))


def values(datatype: str) -> st.SearchStrategy[Part]:
    if datatype == "BYTES":
        return st.text()
    return st.booleans() if datatype == "BOOL" else st.integers(*LIMITS[datatype])


@st.composite
def keys_and_parts(draw: st.DrawFn) -> tuple[Key, tuple[Part, ...]]:
    types = draw(st.lists(st.sampled_from(["BYTES", "BOOL", *LIMITS]), min_size=1, max_size=4))
    key = tuple(JoinKey(f"k{i}", datatype) for i, datatype in enumerate(types))
    return key, tuple(draw(values(datatype)) for datatype in types)


@given(keys_and_parts())
def test_the_parts_of_an_entity_are_those_it_was_made_of(made: tuple[Key, tuple[Part, ...]]) -> None:
    key, parts = made
    found = parts_of(entity_of(parts, key), key)
    assert found == parts
    assert [type(part) for part in found] == [type(part) for part in parts]


def test_one_text_is_its_own_entity_and_a_number_its_digits() -> None:
    assert entity_of(("85123A",), (JoinKey("product"),)) == "85123A"
    assert entity_of((12,), (JoinKey("store", "INT64"),)) == "12"
    assert entity_of(("AA", 12), FLIGHT) == '["AA",12]'
    assert said('["AA",12]', FLIGHT) == "carrier=AA flight=12"


@pytest.mark.parametrize(
    ("entity", "key"),
    [
        ("AA", FLIGHT),
        ('["AA"]', FLIGHT),
        ('["AA", 12]', FLIGHT),  # the same parts written otherwise are another string: one entity has one
        ('["AA",12.0]', FLIGHT),
        ('["AA",true]', FLIGHT),
        ('{"carrier":"AA","flight":12}', FLIGHT),
        ("012", (JoinKey("store", "INT64"),)),
        ("1e3", (JoinKey("store", "INT64"),)),
        ("NaN", (JoinKey("store", "INT64"),)),
        ("9" * 5000, (JoinKey("store", "INT64"),)),
        ("300", (JoinKey("store", "UINT8"),)),
        ("1", (JoinKey("open", "BOOL"),)),
        ("[" * 100_000, FLIGHT),
    ],
)
def test_a_string_that_is_no_key_is_refused_in_one_sentence(entity: str, key: Key) -> None:
    with pytest.raises(InvalidInput, match="required") as caught:
        parts_of(entity, key)
    assert len(str(caught.value)) < 250


@given(st.text(max_size=60))
def test_no_text_makes_reading_a_key_raise_anything_else(text: str) -> None:
    for key in (FLIGHT, (JoinKey("store", "INT32"),), (JoinKey("open", "BOOL"),)):
        try:
            parts = parts_of(text, key)
        except InvalidInput:
            continue
        assert entity_of(parts, key) == text


@given(keys_and_parts())
def test_the_columns_of_entities_are_those_they_were_made_of(made: tuple[Key, tuple[Part, ...]]) -> None:
    key, parts = made
    columns = {part.name: [value, value] for part, value in zip(key, parts, strict=True)}
    assert columns_of(entities_of(columns, key), key) == columns


def test_a_column_of_another_type_makes_no_entity() -> None:
    with pytest.raises(InvalidInput, match="'carrier' is 7, required a value of type BYTES"):
        entities_of({"carrier": ["AA", 7]}, (JoinKey("carrier"),))
