"""Free text, of which hardly any two rows say the same (a comment, a name, an id): no category, since what comes next is new.

Such a column is judged by columns made of it: `NAME.length` in characters, `NAME.words`, and `NAME.word`, one word of each row,
whose distribution says whether people still write of the same things in the same language.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Collection, Mapping

import numpy as np
import polars as pl

FREE = 0.5  # share of a reference's texts, from which on those that stand in one row alone make it free
FEWEST = 100  # texts by which that can be told
LENGTH, WORDS, WORD = ".length", ".words", ".word"
PARTS = (LENGTH, WORDS, WORD)
_WORD = re.compile(r"\w+")


def is_free(values: pl.Series) -> bool:
    """Whether most texts of a reference stand in one row alone."""
    texts = values.drop_nulls()
    return len(texts) >= FEWEST and int(texts.is_unique().sum()) > FREE * len(texts)


def parts_of(name: str, texts: np.ndarray) -> dict[str, np.ndarray]:
    """The columns made of [n] texts (None is missing). Which word of a row is taken depends on its text alone."""
    words = [[] if text is None else _WORD.findall(text.lower()) for text in texts]
    chosen = [
        found[zlib.crc32(text.encode()) % len(found)] if found else None for text, found in zip(texts, words, strict=True)
    ]
    return {
        name + LENGTH: np.array([np.nan if text is None else len(text) for text in texts], dtype=np.float64),
        name + WORDS: np.array(
            [np.nan if text is None else len(found) for text, found in zip(texts, words, strict=True)], dtype=np.float64
        ),
        name + WORD: np.array(chosen, dtype=object),
    }


def without_free_text(frame: pl.DataFrame, names: Collection[str]) -> pl.DataFrame:
    """The frame of a reference with the parts of those columns of `names` that are free text, in their place."""
    for name in names:
        if name in frame.columns and frame[name].dtype == pl.String and is_free(frame[name]):
            made = parts_of(name, np.array(frame[name].to_list(), dtype=object))
            series = [pl.Series(part, values.tolist() if part.endswith(WORD) else values) for part, values in made.items()]
            kept = [each for each in series if each.dtype != pl.String or not is_free(each)]
            frame = frame.drop(name).with_columns(kept)
    return frame


def with_parts(made: Mapping[str, np.ndarray], wanted: Collection[str]) -> Mapping[str, np.ndarray]:
    """A record's columns with the parts of text that are `wanted`."""
    found = dict(made)
    for base in {name.removesuffix(part) for name in wanted for part in PARTS if name.endswith(part) and name not in made}:
        if base in made and made[base].dtype.kind == "O":
            found |= parts_of(base, made[base])
    return found
