"""The feature store on Feast: definitions from a Feast repository, DuckDB offline, packed rows online.

`wiring` makes it as `FeastFeatureStore(repo, feature_folder(state, model), target.online_store, service)`: everything but the
definitions is the model's own. `online` is `sqlite` or a redis URL, and a slot reads what this writes by
`packed.online.open_online_reader(store.online_url, contract)`. `service` is the model's own feature service: what it reads has
to be right when definitions are registered and tables are there, while other services of the repository are only remarked upon.

Definitions are loaded with TIDEGATE_FEATURES, the model's feature folder, and TIDEGATE_STATE, the state folder, in the
environment. A path below either, in the registry, is kept relative to the feature folder, so that a state can be moved.

No pickle is loaded. Feast keeps the function of an on-demand view in its registry as a pickle (dill) and loads it whenever
it reads the view. So `apply` writes two registries: `registry.db`, complete, for Feast's own tools, and
`registry_stored.db`, the same without on-demand views, which all reading here goes through. Contracts are read from the
protobuf message of the first, and on-demand functions run from their source file, by the code that serves them
(tidegate.serving.runtime.vectors).

Limits: join keys are Strings, whole numbers or Bools, features numbers, Bools or Strings (`contracts`). Feature timestamps are
UTC; one without a zone is taken for UTC.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tidegate.adapters.feast.contracts import TIME, contract_of, features_of, key_of, refusals, services_of, views_of
from tidegate.adapters.feast.registry import above, below, of_any_state, place_files, read_registry, table_of
from tidegate.adapters.feast.table_values import entities_in, key_frame, numbers_of, series, texts_of
from tidegate.adapters.feast.view_tables import (
    EPOCH,
    NO_KEY,
    NO_KEY_VALUE,
    frame_of,
    key_columns,
    pulled,
    quiet,
    table_of_view,
)
from tidegate.adapters.packed.places import open_backend
from tidegate.adapters.packed.rows import ViewRows, verify
from tidegate.adapters.vendor_imports import import_feast
from tidegate.domain.contract import FeatureContract
from tidegate.domain.errors import InvalidInput, NotFound, Unavailable
from tidegate.domain.keys import columns_of
from tidegate.files.digests import files_digest
from tidegate.files.durable_files import locked
from tidegate.files.feature_folder import SQLITE, FeatureFolder
from tidegate.files.source_code import Sources
from tidegate.ports.features import Watermark
from tidegate.serving.runtime.vectors import feature_columns, load_on_demand, stored_names, text_names

TIME_TYPE = pl.Datetime("us", "UTC")
MICROSECOND = timedelta(microseconds=1)
NUMBER = "FP64"


class FeastFeatureStore:
    """A `FeatureStore` (tidegate.ports.features)."""

    def __init__(self, repo: Path, folder: FeatureFolder, online: str = SQLITE, service: str = "") -> None:
        self._repo = repo.resolve()
        self._folder = folder
        self._service = service
        self.online_url = folder.online_address(online)
        self._store: Any = None
        self._limits: Mapping[str, float] | None = None  # the TTLs of `_store`, where they are not the definitions'
        self._here: tempfile.TemporaryDirectory[str] | None = None  # as long as the store
        self._registry: Any = None

    def apply(self) -> tuple[str, ...]:
        """Register the repository's definitions, replacing what was registered; returns the names of the feature services.

        Raises InvalidInput and leaves what was registered when the model's own service could not be served.
        """
        import_feast()
        from tidegate.adapters.feast.repository import loaded_objects

        root = self._folder.root
        try:
            root.mkdir(parents=True, exist_ok=True)
            # A fresh registry: nothing is compared with an earlier one, so nothing of it is unpickled.
            folder = Path(tempfile.mkdtemp(prefix=".registry-", dir=root))
        except OSError as error:
            raise Unavailable(f"features apply: cannot write {root} ({error}); check the disk") from error
        try:
            config = self._config(folder / "registry.db")
            known = {"TIDEGATE_STATE": str(self._folder.state), "TIDEGATE_FEATURES": str(root)}
            with quiet(), loaded_objects(self._repo, known) as objects:
                self._place_tables(objects)
                self._register(config, objects)
            complete = read_registry(folder / "registry.db")
            if self._service:
                contract_of(complete, self._service, str(self._repo))
            place_files(complete, below(root))
            (folder / "registry.db").write_bytes(complete.SerializeToString())
            stored = read_registry(folder / "registry.db")
            del stored.on_demand_feature_views[:]
            del stored.feature_services[:]  # some name on-demand views
            (folder / "registry_stored.db").write_bytes(stored.SerializeToString())
            for path in (self._folder.registry_stored, self._folder.registry):
                os.replace(folder / path.name, path)
            self._folder.earlier_registry.unlink(missing_ok=True)
        except OSError as error:
            raise Unavailable(f"features apply: cannot write {root} ({error}); check the disk") from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        self._registry, self._store = complete, None
        return tuple(sorted(services_of(complete)))

    def _register(self, config: Any, objects: list[Any]) -> None:
        """Raises InvalidInput for definitions that Feast does not take."""
        from feast import FeatureStore, Project

        try:
            FeatureStore(config=config).apply([Project(name=config.project), *objects])
        except Exception as error:
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            hint = "correct them"
            if isinstance(error, FileNotFoundError):
                hint = "what a view leaves out is taken from its table: declare the join key as a Field, or build it first"
            raise InvalidInput(
                f"feature repository {self._repo}: its definitions cannot be registered ({reason}); {hint}"
            ) from error

    def remarks(self) -> list[str]:
        """What of the repository is replaced or cannot be served, a line each."""
        from tidegate.adapters.feast.repository import replacements

        replaced = replacements(self._repo, self._folder.registry, self.online_url)
        return [*replaced, *refusals(self._applied(), self._service, str(self._repo))]

    def _place_tables(self, objects: list[Any]) -> None:
        from feast import FileSource

        sources = [s for each in objects for s in (each, getattr(each, "batch_source", None)) if isinstance(s, FileSource)]
        for source in {id(source): source for source in sources}.values():
            options = source.file_options
            options.uri = table_of(options.uri, self._repo, self._folder.state, self._folder.root)

    def contract(self, service: str) -> FeatureContract:
        """What the feature service reads; raises NotFound, InvalidInput."""
        return contract_of(self._applied(), service, str(self._repo))

    def historical(self, contract: FeatureContract, entity_rows: pl.DataFrame) -> pl.DataFrame:
        keys = self._keys(contract, entity_rows, contract.request)
        # Rows that differ in request inputs alone share stored features: each is joined once.
        found = self._stored_at(contract, keys.unique(maintain_order=True))
        stored = keys.join(found, on=keys.columns, how="left", maintain_order="left", nulls_equal=True)
        what, types = f"features of '{contract.service}'", contract.types
        values = numbers_of(stored, {name: types.get(name, NUMBER) for name in stored_names(contract)}, what)
        texts = texts_of(stored, {name: types[name] for name in text_names(contract)}, what)
        function = load_on_demand(Sources.of(self._repo), contract.on_demand) if contract.on_demand else None
        request = {name: entity_rows[name].to_numpy() for name in contract.request}
        times = keys[TIME].to_physical().to_numpy()
        words = {name: np.array(column, dtype=object) for name, column in texts.items()}
        columns = feature_columns(contract, values, times, request, function, words)
        return entity_rows.hstack([series(name, columns[name], types.get(name, "")) for name in contract.vector])

    def stored(self, contract: FeatureContract, entity_rows: pl.DataFrame) -> pl.DataFrame:
        """The stored features, `view__feature`, of each entity row as they were known at its time, in the same order."""
        keys = self._keys(contract, entity_rows)
        found = self._stored_at(contract, keys.unique(maintain_order=True))
        names = [f"{view}__{name}" for view, kept in contract.stored.items() for name in kept]
        return keys.join(found, on=keys.columns, how="left", maintain_order="left", nulls_equal=True).select(names)

    def stored_at(self, contract: FeatureContract, entities: Sequence[str], moment: datetime) -> pl.DataFrame:
        """The same of `entities`, all at one moment."""
        asked = pl.DataFrame(columns_of(entities, contract.key)).with_columns(pl.lit(moment).cast(TIME_TYPE).alias(TIME))
        return self.stored(contract, asked)

    def known(self, contract: FeatureContract, moment: datetime) -> list[str]:
        """The entities that have a row in a view with the whole key at or before `moment`, sorted."""
        store, found = self._feast(), set()
        for view in contract.stored:
            if view not in contract.view_keys:
                rows = pulled(store, self._view(store, view), (), moment)
                found |= set(entities_in(rows, contract.key, f"feature view '{view}'"))
        return sorted(found)

    def materialize(self, until: datetime) -> int:
        """All views in one transaction; the same `until` again changes no row. Raises InvalidInput without earlier rows.

        One at a time: of two, what the later one was asked for is what there is in the end. Of views that the model's own
        service does not read, those that have a table and can be stored.
        """
        store = self._feast()
        end = until.replace(tzinfo=UTC) if until.tzinfo is None else until.astimezone(UTC)
        with locked(self._folder.root / ".materialize.lock"):
            filled = self._to_fill(store)
            views = {view.name: self._latest(store, view, end) for view in filled}
            parts = {view.name: len(key_columns(view)) for view in filled}
            widest = max(parts.values(), default=0)
            entities = {e for name, rows in views.items() if parts[name] == widest for e in rows.entities}
            if not entities:
                raise InvalidInput(
                    f"features materialize: no feature row at or before {end:%Y-%m-%d %H:%M}; choose a later moment"
                )
            store._get_provider().online_store.replace_views(store.config, views)
        return len(entities)

    def verify_online(self, contract: FeatureContract) -> Watermark | None:
        """Read and verify every row of the contract's views; raises IntegrityError, Unavailable. Returns the watermark."""
        backend = open_backend(self.online_url)
        try:
            verify(backend, contract.stored)
            return backend.stored().watermark
        finally:
            backend.close()

    def outdated(self, watermark: Watermark) -> list[str]:
        """Views whose online rows were taken from another table than the one that is there now."""
        changed = []
        for view in self._all(self._feast()):
            mark = watermark.views.get(view.name)
            if mark is not None and mark.table and mark.table != self._table_digest(view):
                changed.append(view.name)
        return changed

    def _all(self, store: Any) -> list[Any]:
        return [*store.list_feature_views(), *store.list_stream_feature_views()]

    def _view(self, store: Any, name: str) -> Any:
        return next(view for view in self._all(store) if view.name == name)

    def _to_fill(self, store: Any) -> list[Any]:
        registry = self._applied()
        own = contract_of(registry, self._service, str(self._repo)).stored if self._service in services_of(registry) else None
        specs, views = views_of(registry), [view for view in self._all(store) if view.online]
        if own is None:
            return views
        return [view for view in views if view.name in own or self._may_be_filled(view, specs[view.name])]

    def _may_be_filled(self, view: Any, spec: Any) -> bool:
        try:
            key_of(self._applied(), spec)
            table_of_view(view)
        except (InvalidInput, NotFound):
            return False
        return bool(features_of(spec))

    def _latest(self, store: Any, view: Any, end: datetime) -> ViewRows:
        table = self._table_digest(view)
        registry, what = self._applied(), f"feature view '{view.name}'"
        spec = views_of(registry)[view.name]
        key, types = key_of(registry, spec), features_of(spec)
        rows = pulled(store, view, tuple(types), end)
        values, texts = numbers_of(rows, types, what), texts_of(rows, types, what)
        times = rows[TIME].to_physical().to_numpy()
        names = tuple(name for name in types if name not in texts)
        return ViewRows(names, entities_in(rows, key, what), times, values, (end - EPOCH) // MICROSECOND, table, texts)

    def _stored_at(self, contract: FeatureContract, keys: pl.DataFrame) -> pl.DataFrame:
        """Stored features, `view__feature`, of each distinct key and time in `keys`, by Feast's point-in-time join, with the
        TTLs of the contract."""
        store = self._feast(contract.ttl)
        for view in contract.stored:
            table_of_view(self._view(store, view))
        refs = [f"{view}:{name}" for view, names in contract.stored.items() for name in names]
        with quiet():
            asked = keys.with_columns(pl.lit(NO_KEY_VALUE).alias(NO_KEY))  # of views without entities
            job = store.get_historical_features(entity_df=asked.to_pandas(), features=refs, full_feature_names=True)
            found = frame_of(job.to_arrow()).drop(NO_KEY).cast(keys.schema)
        if len(found) != len(keys):
            raise Unavailable(f"features: the offline store answered {len(found)} rows to {len(keys)}; it lost entity rows")
        return found

    def _keys(self, contract: FeatureContract, rows: pl.DataFrame, request: Sequence[str] = ()) -> pl.DataFrame:
        """The key's columns and TIME of entity rows, which have `request` inputs too; raises InvalidInput."""
        what = f"features of '{contract.service}'"
        missing = [name for name in (*contract.key_names, TIME, *request) if name not in rows.columns]
        if missing:
            raise InvalidInput(f"{what}: entity rows lack {', '.join(missing)}")
        if rows.is_empty():
            raise InvalidInput(f"{what}: there are no entity rows")
        if not isinstance(rows.schema[TIME], pl.Datetime) or rows[TIME].null_count():
            raise InvalidInput(f"{what}: each entity row needs a UTC '{TIME}'")
        return key_frame(rows, contract.key, f"{what}: entity rows").with_columns(rows[TIME].cast(TIME_TYPE))

    def _table_digest(self, view: Any) -> str:
        table = table_of_view(view)
        return files_digest([table]) if table else ""

    def _applied(self) -> Any:
        if self._registry is None:
            path = self._folder.registry
            if not path.is_file():
                raise NotFound(f"no features are registered in {self._folder.root}; run 'tidegate features apply' first")
            self._registry = read_registry(path)
        return self._registry

    def _feast(self, limits: Mapping[str, float] | None = None) -> Any:
        """Feast's store over the definitions as they were registered, with the TTLs `limits` (default: the definitions')."""
        if self._store is None or self._limits != limits:
            self._applied()
            from feast import FeatureStore

            registry = read_registry(self._folder.registry_stored)
            if self._folder.earlier_registry.exists():
                place_files(registry, of_any_state)
            place_files(registry, above(self._folder.root))
            if limits is not None:
                for name, spec in views_of(registry).items():
                    spec.ttl.FromTimedelta(timedelta(seconds=limits.get(name, 0)))
            # Feast resolves paths against the working directory, and reads a registry from a file again and again.
            self._here = tempfile.TemporaryDirectory(prefix="tidegate-registry-")
            path = Path(self._here.name) / "registry.db"
            path.write_bytes(registry.SerializeToString())
            self._store, self._limits = FeatureStore(config=self._config(path)), limits
        return self._store

    def _config(self, registry: Path) -> Any:
        from tidegate.adapters.feast.repository import repo_config

        return repo_config(self._repo, registry, self.online_url)
