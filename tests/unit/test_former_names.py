"""Names of modules that definitions and releases of earlier versions import."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from tidegate.former_names import FORMER


@pytest.mark.parametrize("former", sorted(FORMER))
def test_a_former_name_is_the_module_of_today(former: str) -> None:
    today = importlib.import_module(FORMER[former])
    assert importlib.import_module(former) is today
    assert today.__name__ == FORMER[former]
    assert today.__spec__ is not None
    assert today.__spec__.name == FORMER[former]


@pytest.mark.parametrize(
    "code",
    [
        "from tidegate.bootstrap import training; assert training.__name__ == 'tidegate.apps.training'",
        "import tidegate.features.ingest as old; import tidegate.data.ingest as new; assert old is new",
        "from tidegate.features.source_files import Column; from tidegate.api.data import Column as new; assert Column is new",
    ],
)
def test_a_process_that_knows_a_former_name_alone_finds_it(code: str) -> None:
    subprocess.run([sys.executable, "-c", code], check=True)
