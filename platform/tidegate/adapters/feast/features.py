"""The feature store on Feast: definitions from a Feast repository, DuckDB offline, packed rows online.

`bootstrap` builds it as `FeastFeatureStore(repo, feature_folder(state, model), target.online_store)`: everything but the
definitions is the model's own. The last argument is `sqlite` or a redis URL, and a slot reads what this writes by
`packed_online.open_online_reader(store.online_url, contract)`.

Definitions are loaded with TIDEGATE_FEATURES, the model's feature folder, and TIDEGATE_STATE, the state folder, in the
environment. A path below either, in the registry, is kept relative to the feature folder, so that a state can be moved.

No pickle is loaded. Feast keeps the function of an on-demand view in its registry as a pickle (dill) and loads it whenever
it reads the view. So `apply` writes two registries: `registry.db`, complete, for Feast's own tools, and
`registry_stored.db`, the same without on-demand views, which all reading here goes through. Contracts are read from the
protobuf message of the first, and on-demand functions run from their source file, by the code that serves them
(tidegate.serving.runtime.vectors).

Limits: one entity with one join key, a String; features are numbers. Feature timestamps are UTC.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tidegate.adapters.feast.registry import above, below, of_any_state, place_files, read_registry, table_of
from tidegate.adapters.packed.places import open_backend
from tidegate.adapters.packed.rows import ViewRows, verify
from tidegate.adapters.vendor_imports import import_feast
from tidegate.domain.contract import FeatureContract
from tidegate.domain.errors import InvalidInput, NotFound, Unavailable
from tidegate.files.digests import files_digest
from tidegate.files.durable_files import locked
from tidegate.files.feature_folder import SQLITE, FeatureFolder
from tidegate.files.source_code import Sources
from tidegate.ports.features import Watermark
from tidegate.serving.runtime.vectors import assemble, load_on_demand, stored_names

TIME = "event_timestamp"
REQUEST_TYPES = {3: "INT32", 4: "INT64", 5: "FP64", 6: "FP32"}  # of Feast's ValueType, by the inference protocol's names
ON_DEMAND_TAG = "on_demand"
TIME_TYPE = pl.Datetime("us", "UTC")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


class FeastFeatureStore:
    """A `FeatureStore` (tidegate.ports.features)."""

    def __init__(self, repo: Path, folder: FeatureFolder, online: str = SQLITE) -> None:
        self._repo = repo.resolve()
        self._folder = folder
        self.online_url = folder.online_address(online)
        self._store: Any = None
        self._here: tempfile.TemporaryDirectory[str] | None = None  # as long as the store
        self._registry: Any = None

    def apply(self) -> tuple[str, ...]:
        """Register the repository's definitions, replacing what was registered; returns the names of the feature services."""
        import_feast()  # with its checks: definitions are read
        from feast import FeatureStore, Project

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
            with _quiet(), loaded_objects(self._repo, known) as objects:
                self._place_tables(objects)
                FeatureStore(config=config).apply([Project(name=config.project), *objects])
            complete = read_registry(folder / "registry.db")
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
        return tuple(sorted(service.spec.name for service in complete.feature_services))

    def _place_tables(self, objects: list[Any]) -> None:
        from feast import FileSource

        sources = [s for each in objects for s in (each, getattr(each, "batch_source", None)) if isinstance(s, FileSource)]
        for source in {id(source): source for source in sources}.values():
            options = source.file_options
            options.uri = table_of(options.uri, self._repo, self._folder.state, self._folder.root)

    def contract(self, service: str) -> FeatureContract:
        """What the feature service reads; raises NotFound, InvalidInput."""
        registry = self._applied()
        specs = {s.spec.name: s.spec for s in registry.feature_services}
        if service not in specs:
            known = ", ".join(sorted(specs)) or "none"
            raise NotFound(f"feature service '{service}' is not registered (there is {known}); see {self._repo}")
        views = {v.spec.name: v.spec for v in registry.feature_views}
        computed = {v.spec.name: v.spec for v in registry.on_demand_feature_views}
        stored: dict[str, set[str]] = {}
        vector: list[str] = []
        derived: list[str] = []
        request: dict[str, str] = {}
        for projection in specs[service].features:
            view, names = projection.feature_view_name, [column.name for column in projection.feature_columns]
            if view in views:
                stored.setdefault(view, set()).update(names)
                vector += [f"{view}__{name}" for name in names]
                continue
            derived += names
            for source in computed[view].sources.values():
                if source.WhichOneof("source") == "request_data_source":
                    for field in source.request_data_source.request_data_options.schema:
                        if field.name != TIME:
                            request[field.name] = REQUEST_TYPES.get(field.value_type, "")
                else:
                    read = source.feature_view_projection
                    stored.setdefault(read.feature_view_name, set()).update(c.name for c in read.feature_columns)
        tag = dict(specs[service].tags).get(ON_DEMAND_TAG)
        if derived and not tag:
            raise InvalidInput(
                f"feature service '{service}' has on-demand features but no tag '{ON_DEMAND_TAG}'; "
                f"add tags={{'{ON_DEMAND_TAG}': 'FILE.py:FUNCTION'}}, the source of the function that makes them"
            )
        in_order = {v: tuple(f.name for f in views[v].features if f.name in names) for v, names in stored.items()}
        entities = {key for view in in_order for key in views[view].entities}
        if len(entities) != 1:
            raise InvalidInput(f"feature service '{service}' has the entities {sorted(entities)}; exactly one is supported")
        return FeatureContract(
            service,
            entities.pop(),
            in_order,
            (*vector, *derived),
            tuple(request),
            tag if derived else None,
            tuple(derived),
            {name: datatype for name, datatype in request.items() if datatype},
        )

    def historical(self, contract: FeatureContract, entity_rows: pl.DataFrame) -> pl.DataFrame:
        self._check_rows(contract, entity_rows)
        times = entity_rows[TIME].cast(TIME_TYPE)
        keys = pl.DataFrame({contract.entity: entity_rows[contract.entity], TIME: times})
        # Rows that differ in request inputs alone share stored features: each is joined once.
        found = self._stored_at(contract, keys.unique(maintain_order=True))
        names = stored_names(contract)
        stored = keys.join(found, on=[contract.entity, TIME], how="left", maintain_order="left", nulls_equal=True)
        matrix = stored.select(names).cast(pl.Float64).fill_null(np.nan).to_numpy()
        function = load_on_demand(Sources.of(self._repo), contract.on_demand) if contract.on_demand else None
        request = {name: entity_rows[name].to_numpy() for name in contract.request}
        vectors = assemble(contract, matrix, times.to_physical().to_numpy(), request, function)
        columns = [pl.Series(name, vectors[:, i]).fill_nan(None) for i, name in enumerate(contract.vector)]
        return entity_rows.hstack(columns)

    def materialize(self, until: datetime) -> int:
        """All views in one transaction; the same `until` again changes no row. Raises InvalidInput without earlier rows.

        One at a time: of two, what the later one was asked for is what there is in the end.
        """
        store = self._feast()
        end = until.replace(tzinfo=UTC) if until.tzinfo is None else until.astimezone(UTC)
        provider = store._get_provider()
        with locked(self._folder.root / ".materialize.lock"):
            views = {v.name: self._latest(provider, store.config, v, end) for v in store.list_feature_views() if v.online}
            entities = {entity for rows in views.values() for entity in rows.entities}
            if not entities:
                raise InvalidInput(
                    f"features materialize: no feature row at or before {end:%Y-%m-%d %H:%M}; choose a later moment"
                )
            provider.online_store.replace_views(store.config, views)
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
        for view in self._feast().list_feature_views():
            mark = watermark.views.get(view.name)
            if mark is not None and mark.table and mark.table != self._table_digest(view):
                changed.append(view.name)
        return changed

    def _latest(self, provider: Any, config: Any, view: Any, end: datetime) -> ViewRows:
        table = self._table_digest(view)
        key = view.entity_columns[0].name
        names = tuple(field.name for field in view.features)
        with _quiet():
            job = provider.offline_store.pull_latest_from_table_or_query(
                config, view.batch_source, [key], list(names), view.batch_source.timestamp_field, None, EPOCH, end
            )
            rows = _frame(job.to_arrow()).sort(key)
        values = rows.select(names).cast(pl.Float64).fill_null(np.nan).to_numpy()
        times = rows[view.batch_source.timestamp_field].cast(TIME_TYPE).to_physical().to_numpy()
        return ViewRows(names, rows[key].to_list(), times, values, (end - EPOCH) // MICROSECOND, table)

    def _stored_at(self, contract: FeatureContract, keys: pl.DataFrame) -> pl.DataFrame:
        """Stored features, `view__feature`, of each distinct entity and time in `keys`, by Feast's point-in-time join."""
        store = self._feast()
        for view in contract.stored:
            self._check_table(store.get_feature_view(view))
        refs = [f"{view}:{name}" for view, names in contract.stored.items() for name in names]
        with _quiet():
            job = store.get_historical_features(entity_df=keys.to_pandas(), features=refs, full_feature_names=True)
            found = _frame(job.to_arrow()).with_columns(pl.col(TIME).cast(TIME_TYPE))
        if len(found) != len(keys):
            raise Unavailable(f"features: the offline store answered {len(found)} rows to {len(keys)}; it lost entity rows")
        return found

    def _check_rows(self, contract: FeatureContract, rows: pl.DataFrame) -> None:
        missing = [name for name in (contract.entity, TIME, *contract.request) if name not in rows.columns]
        if missing:
            raise InvalidInput(f"features of '{contract.service}': entity rows lack {', '.join(missing)}")
        if not isinstance(rows.schema[TIME], pl.Datetime) or rows[TIME].null_count() or rows[contract.entity].null_count():
            raise InvalidInput(
                f"features of '{contract.service}': each entity row needs '{contract.entity}' and a UTC '{TIME}'"
            )
        if rows.is_empty():
            raise InvalidInput(f"features of '{contract.service}': there are no entity rows")

    def _check_table(self, view: Any) -> Path | None:
        """The file of the view's table; None when it is elsewhere."""
        if "://" in view.batch_source.path:
            return None
        table = Path(view.batch_source.path)
        if not table.is_file():
            raise NotFound(f"feature view '{view.name}': its table {table} does not exist; run 'tidegate features build' first")
        return table

    def _table_digest(self, view: Any) -> str:
        table = self._check_table(view)
        return files_digest([table]) if table else ""

    def _applied(self) -> Any:
        if self._registry is None:
            path = self._folder.registry
            if not path.is_file():
                raise NotFound(f"no features are registered in {self._folder.root}; run 'tidegate features apply' first")
            self._registry = read_registry(path)
        return self._registry

    def _feast(self) -> Any:
        if self._store is None:
            from feast import FeatureStore

            self._applied()
            registry = read_registry(self._folder.registry_stored)
            if self._folder.earlier_registry.exists():
                place_files(registry, of_any_state)
            place_files(registry, above(self._folder.root))
            # Feast resolves paths against the working directory, and reads a registry from a file again and again.
            self._here = tempfile.TemporaryDirectory(prefix="tidegate-registry-")
            path = Path(self._here.name) / "registry.db"
            path.write_bytes(registry.SerializeToString())
            self._store = FeatureStore(config=self._config(path))
        return self._store

    def _config(self, registry: Path) -> Any:
        from tidegate.adapters.feast.repository import repo_config

        return repo_config(self._repo, registry, self.online_url)


@contextmanager
def _quiet() -> Iterator[None]:
    """Feast calls every on-demand view experimental and ibis uses a name that DuckDB deprecates: no news to our users."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _frame(table: Any) -> pl.DataFrame:
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)  # noqa: S101 - of a table, for the type checker
    return frame
