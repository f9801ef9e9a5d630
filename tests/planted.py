"""What an intruder leaves beside source files."""

from __future__ import annotations

import importlib.util
import py_compile
from pathlib import Path


def plant_byte_code(source: Path, instead: str) -> None:
    """Byte code of other code beside `source`, of the kind that Python takes without a look at the source."""
    other = source.with_name("other_code.py")
    other.write_text(instead)
    cached = importlib.util.cache_from_source(str(source))
    py_compile.compile(str(other), cached, doraise=True, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    other.unlink()
