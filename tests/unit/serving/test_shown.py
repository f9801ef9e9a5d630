"""A client's text in messages and records: little, printable, and in records nothing that it quoted."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tidegate.serving.runtime.shown import MESSAGE_AT_MOST, RECORDED_AT_MOST, SHOWN_AT_MOST, bounded, redacted, shown

texts = st.text(max_size=200) | st.text(alphabet="'\"\\\n\x00\ud800a", max_size=200)


@given(texts)
def test_what_is_shown_is_short_printable_and_cannot_leave_its_quotes(text: str) -> None:
    told = shown(text)
    assert told.isprintable()
    assert told.isascii()
    assert len(told) <= SHOWN_AT_MOST + 2
    assert "'" not in told[1:-1]


@given(texts)
def test_records_quote_only_words_of_the_release(text: str) -> None:
    told = redacted(f"input 'horizon': got {shown(text)}, {shown(text)} is unknown", {"horizon"})
    assert told == "input 'horizon': got '...', '...' is unknown" or text == "horizon"
    assert len(redacted("x" * 10_000, ())) <= RECORDED_AT_MOST


@given(texts)
def test_messages_are_bounded(text: str) -> None:
    assert len(bounded(text * 100)) <= MESSAGE_AT_MOST
    assert bounded(text).isprintable() or not bounded(text)
