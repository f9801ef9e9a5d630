"""Makes LightGBM importable where the system has no OpenMP runtime.

LightGBM's wheel needs the system's `libgomp.so.1` and does not bring it; a bare Debian has none. scikit-learn's wheel, which we
depend on anyway, brings a private copy under a mangled name (`libgomp-<hash>.so.1.0.0`). The dynamic linker takes a library
that is already loaded when its SONAME is the one needed, so `ensure_openmp` loads that copy once, from memory, with its SONAME
set back to `libgomp.so.1`. Where the system has an OpenMP runtime, that one is used and nothing else happens.

Limits: Linux only; the process gets two OpenMP runtimes when it also uses scikit-learn's, as with the system's.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import os
import re
from functools import cache
from pathlib import Path
from types import ModuleType

from tidegate.api.training import Unavailable

SONAME = b"libgomp.so.1\0"
_MANGLED = re.compile(rb"libgomp-[0-9a-f]{6,}\.so[0-9.]*\0")


def restored_soname(library: bytes) -> bytes:
    """`library` with the mangled SONAME of its string table replaced by `libgomp.so.1`, the length unchanged."""
    changed, count = _MANGLED.subn(lambda match: SONAME.ljust(len(match[0]), b"\0"), library)
    if count != 1:
        raise ValueError(f"expected one mangled SONAME, found {count}")
    return changed


def bundled_library() -> Path | None:
    """The copy of libgomp inside scikit-learn's wheel."""
    spec = importlib.util.find_spec("sklearn")
    if spec is None or spec.origin is None:
        return None
    return next(iter(sorted((Path(spec.origin).parents[1] / "scikit_learn.libs").glob("libgomp-*.so*"))), None)


@cache
def ensure_openmp() -> None:
    """Have `libgomp.so.1` loaded in this process; raises Unavailable."""
    try:
        ctypes.CDLL("libgomp.so.1", mode=ctypes.RTLD_GLOBAL)
        return
    except OSError as error:
        missing = error
    try:
        load_bundled()
    except (OSError, ValueError) as error:
        raise Unavailable(
            f"LightGBM needs the OpenMP runtime libgomp.so.1, which this system lacks ({error}); install it (Debian: libgomp1)"
        ) from missing


def load_bundled() -> None:
    """Load the bundled copy as `libgomp.so.1`; raises OSError or ValueError."""
    library = bundled_library()
    if library is None:
        raise OSError("scikit-learn's wheel brings none either")
    descriptor = os.memfd_create("libgomp.so.1")
    try:
        with open(descriptor, "wb", closefd=False) as memory:
            memory.write(restored_soname(library.read_bytes()))
        ctypes.CDLL(f"/proc/self/fd/{descriptor}", mode=ctypes.RTLD_GLOBAL)
    finally:
        os.close(descriptor)


def import_lightgbm() -> ModuleType:
    """The module `lightgbm`, with its OpenMP runtime there."""
    ensure_openmp()
    return importlib.import_module("lightgbm")
