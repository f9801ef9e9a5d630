"""A slot's process over the fake online store: what tests start instead of `python -m tidegate.bootstrap.serving`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from serving_builders import FakeReader
from tidegate.bootstrap.serving import main

if __name__ == "__main__":
    code = main(open_reader=lambda location, contract: FakeReader())
    sys.stderr.flush()
    os._exit(code)
