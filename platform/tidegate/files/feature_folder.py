"""Where a model's features lie: one folder a model, which no command of another model touches.

    state/features/<model>/
      tables/<view>.parquet         the feature tables, replaced as a whole
      registry.db                   the Feast registry; paths in it are relative to this folder, so that a state can be moved
      registry_stored.db            the same without on-demand views
      registry.earlier              there when the registry is of an earlier version, whose paths name another folder
      online.db                     the online store, unless that is a Redis server
      online.db.watermark           what online.db must hold at least: a reader compares

A Redis server is shared: there a model's keys carry its name, which stands as the fragment of the address that writers and
readers are given: `redis://HOST:PORT/DATABASE#demand`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

SQLITE = "sqlite"
REDIS_SCHEMES = ("redis://", "rediss://")


@dataclass(frozen=True)
class FeatureFolder:
    """The feature folder of one model; `root` need not exist yet."""

    root: Path
    model: str

    @property
    def state(self) -> Path:
        return self.root.parent.parent

    @property
    def tables(self) -> Path:
        return self.root / "tables"

    @property
    def registry(self) -> Path:
        return self.root / "registry.db"

    @property
    def registry_stored(self) -> Path:
        return self.root / "registry_stored.db"

    @property
    def earlier_registry(self) -> Path:
        return self.root / "registry.earlier"

    @property
    def online_db(self) -> Path:
        return self.root / "online.db"

    def online_address(self, setting: str = SQLITE) -> str:
        """What the target's `onlineStore` means for this model: a path, or a URL with the model as its fragment."""
        return str(self.online_db) if setting == SQLITE else for_model(setting, self.model)


def feature_folder(state: Path, model: str) -> FeatureFolder:
    return FeatureFolder(state.resolve() / "features" / model, model)


def for_model(address: str, model: str) -> str:
    """The address of an online store with the model whose rows are meant; a file is one model's already."""
    return f"{address}#{model}" if address.startswith(REDIS_SCHEMES) and "#" not in address else address
