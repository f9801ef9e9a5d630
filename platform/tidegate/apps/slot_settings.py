"""How a slot is started, said once: its settings, and the command line that they are written as and read from.

An argument more is a field more: the parser, the commands of the local target and of `tidegate serve` are made from the fields,
and a chart may pass any of them (`args` in its values). Light: whoever starts a slot imports nothing that a slot serves with.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

from tidegate.adapters.files.release_keys import TRUSTED_KEYS
from tidegate.domain.local import BODY_LIMIT

MODULE = "tidegate.apps.slot"


def keys_of_environment() -> tuple[str, ...]:
    return tuple(os.environ.get(TRUSTED_KEYS, "").split())


@dataclass(frozen=True)
class SlotSettings:
    """`trusted_keys` are public keys, one of which has to have signed the release."""

    release_folder: Path = field(metadata={"help": "folder releases/<digest>", "type": Path})
    model: str = field(metadata={"help": "the model that the release must be of"})
    slot: str = field(metadata={"help": "the slot's name, for logs and metrics", "choices": ["blue", "green"]})
    replica: int = field(metadata={"help": "number of the replica in its slot", "type": int})
    port: int = field(metadata={"help": "port; 0 takes a free one", "type": int})
    online: str = field(metadata={"help": "online store: a path, or redis://HOST:PORT/DB"})
    log_dir: Path = field(metadata={"help": "folder of the inference log", "type": Path})
    records: str = field(default="", metadata={"help": "the inference log: redis://HOST:PORT/DB; by default --log-dir"})
    host: str = field(default="127.0.0.1", metadata={"help": "address to listen on"})
    body_limit: int = field(default=BODY_LIMIT, metadata={"help": "largest request body in bytes", "type": int})
    sample_rate: float = field(default=1.0, metadata={"help": "share of requests in the inference log, 0 to 1", "type": float})
    drain_seconds: float = field(default=1.0, metadata={"help": "how long kept-alive clients may take to leave", "type": float})
    trusted_keys: tuple[str, ...] = field(
        default_factory=keys_of_environment,
        metadata={
            "flag": "--trusted-key",
            "help": f"public key of releases' signatures, beside {TRUSTED_KEYS}; may be repeated",
            "action": "append",
            "metavar": "KEY",
        },
    )

    def arguments(self) -> list[str]:
        """What `parse` reads as these settings; what is as it is by default is left out."""
        given = [(_flag(each), getattr(self, each.name)) for each in fields(self) if getattr(self, each.name) != each.default]
        every = [(flag, part) for flag, value in given for part in (value if isinstance(value, tuple) else (value,))]
        return [text for flag, value in every for text in (flag, str(value))]

    def command(self) -> list[str]:
        """The command line of a process of this machine."""
        return [sys.executable, "-m", MODULE, *self.arguments()]


def parse(argv: Sequence[str] | None = None) -> SlotSettings:
    """Ends the process with a usage message for arguments that it has not."""
    parser = argparse.ArgumentParser(prog=f"python -m {MODULE}", description="Serve one release on one port.")
    for each in fields(SlotSettings):
        option = {name: value for name, value in each.metadata.items() if name != "flag"}
        has_default = each.default is not MISSING or each.default_factory is not MISSING
        default = None if each.default is MISSING else each.default
        parser.add_argument(_flag(each), dest=each.name, required=not has_default, default=default, **option)
    given = vars(parser.parse_args(argv))
    keys = (*(given.pop("trusted_keys") or ()), *keys_of_environment())
    return SlotSettings(**given, trusted_keys=keys)


def _flag(each: Any) -> str:
    return str(each.metadata.get("flag", f"--{each.name.replace('_', '-')}"))
