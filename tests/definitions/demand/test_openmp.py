from __future__ import annotations

import subprocess
import sys

import pytest
from pipelines.demand.openmp import bundled_library, restored_soname

LOADED = """
from pipelines.demand import openmp
openmp.load_bundled()
maps = open("/proc/self/maps").read()
assert "memfd:libgomp.so.1" in maps, maps
import lightgbm, numpy
data = lightgbm.Dataset(numpy.arange(200.0).reshape(-1, 1), numpy.arange(200.0))
lightgbm.train({"verbosity": -1, "num_threads": 2}, data, num_boost_round=2)
assert "/libgomp.so.1" not in open("/proc/self/maps").read().replace("/memfd:libgomp.so.1", ""), "the system's copy was loaded"
print("trained")
"""


def test_the_soname_is_restored_in_place() -> None:
    assert restored_soname(b"a\0libgomp-e985bcbb.so.1.0.0\0b\0") == b"a\0libgomp.so.1" + b"\0" * 14 + b"b\0"
    with pytest.raises(ValueError, match="found 0"):
        restored_soname(b"libgomp.so.1\0")


def test_lightgbm_trains_on_the_bundled_runtime_alone() -> None:
    assert bundled_library() is not None
    done = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.strip() == "trained", done.stderr
