"""Feast's DuckDB offline store, which takes the latest rows of tables with times in nanoseconds too.

pandas writes such tables, those of `feast init` among them, and DuckDB compares their times with no others. They are taken as
microseconds, as Feast's point-in-time join takes them.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from feast.data_source import DataSource
from feast.infra.offline_stores import duckdb
from feast.infra.offline_stores.duckdb import DuckDBOfflineStore, DuckDBOfflineStoreConfig
from feast.infra.offline_stores.ibis import pull_latest_from_table_or_query_ibis
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


def _read(source: DataSource, repo_path: str) -> Any:
    table = duckdb._read_data_source(source, repo_path)
    fine = [name for name, of in table.schema().items() if of.is_unknown() and NANOSECONDS in str(of.raw_type)]
    return table.mutate(**{name: table[name].cast(datatypes.Timestamp(timezone="UTC")) for name in fine})
