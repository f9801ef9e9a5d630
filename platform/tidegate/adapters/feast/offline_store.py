"""Feast's DuckDB offline store, with what it lacks.

Tables whose times are in nanoseconds: pandas writes such, those of `feast init` among them, and DuckDB compares their times
with no others. They are taken as microseconds, as Feast's point-in-time join takes them. And tables of views without entities:
Feast joins them by a column of its own, which other offline stores of Feast's add and this one does not.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import ibis
from feast.data_source import DataSource
from feast.feature_view import DUMMY_ENTITY_ID, DUMMY_ENTITY_VAL, FeatureView
from feast.infra.offline_stores import duckdb
from feast.infra.offline_stores.duckdb import DuckDBOfflineStore, DuckDBOfflineStoreConfig
from feast.infra.offline_stores.ibis import get_historical_features_ibis, pull_latest_from_table_or_query_ibis
from feast.infra.registry.base_registry import BaseRegistry
from feast.repo_config import RepoConfig
from ibis.expr import datatypes

NANOSECONDS = "TIMESTAMPTZ_NS"  # a type of DuckDB's that ibis does not know


class MicrosecondOfflineStoreConfig(DuckDBOfflineStoreConfig):
    type: str = "tidegate.adapters.feast.offline_store.MicrosecondOfflineStore"


class MicrosecondOfflineStore(DuckDBOfflineStore):
    @staticmethod
    def pull_latest_from_table_or_query(
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None,
        start_date: datetime,
        end_date: datetime,
    ) -> Any:
        return pull_latest_from_table_or_query_ibis(
            config=config,
            data_source=data_source,
            join_key_columns=join_key_columns,
            feature_name_columns=feature_name_columns,
            timestamp_field=timestamp_field,
            created_timestamp_column=created_timestamp_column,
            start_date=start_date,
            end_date=end_date,
            data_source_reader=_read,
            data_source_writer=duckdb._write_data_source,
        )

    @staticmethod
    def get_historical_features(
        config: RepoConfig,
        feature_views: list[FeatureView],
        feature_refs: list[str],
        entity_df: Any,
        registry: BaseRegistry,
        project: str,
        full_feature_names: bool = False,
        filter_by_created_timestamp: bool = False,
    ) -> Any:
        return get_historical_features_ibis(
            config=config,
            feature_views=feature_views,
            feature_refs=feature_refs,
            entity_df=entity_df,
            registry=registry,
            project=project,
            full_feature_names=full_feature_names,
            data_source_reader=_read_with_no_key,
            data_source_writer=duckdb._write_data_source,
            filter_by_created_timestamp=filter_by_created_timestamp,
        )


def _read_with_no_key(source: DataSource, repo_path: str) -> Any:
    return _read(source, repo_path).mutate(**{DUMMY_ENTITY_ID: ibis.literal(DUMMY_ENTITY_VAL)})


def _read(source: DataSource, repo_path: str) -> Any:
    table = duckdb._read_data_source(source, repo_path)
    fine = [name for name, of in table.schema().items() if of.is_unknown() and NANOSECONDS in str(of.raw_type)]
    return table.mutate(**{name: table[name].cast(datatypes.Timestamp(timezone="UTC")) for name in fine})
