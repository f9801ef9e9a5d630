"""Releases and feature tables in the artifact store of an MLflow server, for those who run where they were not made.

    tidegate/releases/<digest>/...           a release folder, as it was built
    tidegate/features/<digest>/*.parquet     the feature tables of one state of the data
    tidegate/features/<model>/current        the digest of the tables that the model's vectors are recomputed from

Everything is addressed by content and verified when it was fetched: a store that changes a byte is noticed.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from tidegate.adapters.vendor_imports import settle_mlflow
from tidegate.domain.errors import IntegrityError, NotFound, Unavailable
from tidegate.files.digests import files_digest
from tidegate.files.durable_files import locked
from tidegate.files.release_folder import MANIFEST, verify_release
from tidegate.files.release_signature import SIGNATURE

Result = TypeVar("Result")
TABLES, COMPLETE = "*.parquet", "complete"  # the second is stored last


class MlflowArtifacts:
    """`address` is the server's, as in MLFLOW_TRACKING_URI: http://HOST:PORT."""

    def __init__(self, address: str) -> None:
        self._address = address.rstrip("/")

    def push_release(self, folder: Path) -> None:
        """Store a release, once: its manifest is written last, so what is there is whole."""
        digest = verify_release(folder).digest
        there = self._names(f"releases/{digest}")
        if MANIFEST in there:
            if (folder / SIGNATURE).is_file() and SIGNATURE not in there:  # it was stored before it was signed
                self._ask("storing", digest, lambda store: store.log_artifact(str(folder / SIGNATURE), f"releases/{digest}"))
            return
        with tempfile.TemporaryDirectory() as work:
            copy = Path(work) / digest
            shutil.copytree(folder, copy, ignore=lambda at, _: [MANIFEST] if Path(at) == folder else [])
            self._ask("storing", digest, lambda store: store.log_artifacts(str(copy), f"releases/{digest}"))
        self._ask("storing", digest, lambda store: store.log_artifact(str(folder / MANIFEST), f"releases/{digest}"))

    def fetch_release(self, digest: str, into: Path) -> Path:
        """The folder `into/<digest>`, fetched and verified unless it is there; raises NotFound, IntegrityError, Unavailable."""
        target = into / digest
        with locked(into / ".fetch.lock"):
            if target.is_dir():
                return target
            if MANIFEST not in self._names(f"releases/{digest}"):
                raise NotFound(
                    f"release {digest[:12]} is not in the artifact store {self._address}; roll it out with "
                    "'tidegate rollout --target kubernetes', which stores it"
                )
            with tempfile.TemporaryDirectory(prefix=".fetch-", dir=into) as work:
                self._fetch(f"releases/{digest}", Path(work))
                fetched = Path(work) / f"releases/{digest}"
                verify_release(fetched)
                fetched.rename(target)
        return target

    def push_tables(self, model: str, tables: Path) -> str:
        """Store the feature tables in folder `tables`, and say that they are the current ones; returns their digest."""
        digest = tables_digest(tables)
        with tempfile.TemporaryDirectory() as work:
            if COMPLETE not in self._names(f"features/{digest}"):
                (Path(work) / COMPLETE).write_text(digest)
                self._ask("storing", f"tables {digest}", lambda store: store.log_artifacts(str(tables), f"features/{digest}"))
                self._ask("storing", digest, lambda store: store.log_artifact(f"{work}/{COMPLETE}", f"features/{digest}"))
            (Path(work) / "current").write_text(digest)
            self._ask("storing", "current", lambda store: store.log_artifact(f"{work}/current", f"features/{model}"))
        return digest

    def current_tables(self, model: str) -> str:
        """Digest of the current feature tables; raises NotFound."""
        with tempfile.TemporaryDirectory() as work:
            if "current" not in self._names(f"features/{model}"):
                raise NotFound(f"model {model} has no feature tables in the artifact store {self._address}")
            self._fetch(f"features/{model}/current", Path(work))
            return (Path(work) / f"features/{model}/current").read_text().strip()

    def fetch_tables(self, digest: str, target: Path) -> None:
        """Put the tables of that digest into folder `target`, replacing what is there."""
        if COMPLETE not in self._names(f"features/{digest}"):
            raise NotFound(f"feature tables {digest[:12]} are not in the artifact store {self._address}; push them again")
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".tables-", dir=target.parent) as work:
            self._fetch(f"features/{digest}", Path(work))
            fetched = Path(work) / f"features/{digest}"
            if (observed := tables_digest(fetched)) != digest:
                raise IntegrityError(
                    f"feature tables in {self._address}: digest is {observed[:12]}, required {digest[:12]}; push them again"
                )
            shutil.rmtree(target, ignore_errors=True)
            fetched.rename(target)

    def _names(self, path: str) -> set[str]:
        return {Path(found.path).name for found in self._ask("listing", path, lambda store: store.list_artifacts(path))}

    def _fetch(self, path: str, into: Path) -> None:
        self._ask("fetching", path, lambda store: store.download_artifacts(path, str(into)))

    def _ask(self, what: str, about: str, call: Callable[[Any], Result]) -> Result:
        settle_mlflow()
        from mlflow.exceptions import MlflowException
        from mlflow.store.artifact.http_artifact_repo import HttpArtifactRepository
        from requests import RequestException

        try:
            address = f"{self._address}/api/2.0/mlflow-artifacts/artifacts/tidegate"
            return call(HttpArtifactRepository(address))  # type: ignore[no-untyped-call]
        except (MlflowException, RequestException, OSError) as error:
            raise Unavailable(
                f"{what} {about[:24]} in the artifact store {self._address}: {error}; check that this leads to the "
                "MLflow server from here"
            ) from error


def tables_digest(folder: Path) -> str:
    """Digest of the tables' content and names."""
    return files_digest(sorted(folder.glob(TABLES)))
