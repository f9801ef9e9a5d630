"""A project's data and features: datasets ingested, tables built, the online store brought up to date and looked into."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tidegate.apps.opened import OpenedProject
from tidegate.domain.contract import FeatureContract
from tidegate.domain.errors import InvalidInput
from tidegate.domain.verdict import GateResult

if TYPE_CHECKING:
    from tidegate.data.model_data import ModelData
    from tidegate.data.report import IngestReport
    from tidegate.data.tables import TablesReport


class ProjectData(OpenedProject):
    def ingest(self, name: str, sources: Sequence[Path] | None = None) -> IngestReport:
        """Sort the rows of a dataset, or of a model's only one, into its classes and a quarantine."""
        from tidegate.apps.datasets import dataset_names, ingest_dataset

        names = dataset_names(self.project, name)
        if len(names) > 1:
            raise InvalidInput(f"model '{name}' has the datasets {', '.join(names)}; name one")
        return ingest_dataset(self.project, names[0], sources, self.state.all_data, self.progress)

    def ingest_all(self, model: str) -> list[IngestReport]:
        """Ingest every dataset of a model."""
        return [self.ingest(name) for name in self.project.model(model).datasets]

    def ingest_report(self, name: str) -> IngestReport:
        """What the last ingestion of a dataset counted; raises NotFound."""
        from tidegate.data.report import load_report

        return load_report(self.state.data(self.project.dataset(name).name))

    def data(self, model: str) -> ModelData:
        """The ingested rows that a model is made of, by class; raises NotFound."""
        from tidegate.apps.datasets import model_data

        return model_data(self.project, model)

    def known_entities(self, model: str, moment: datetime) -> list[str]:
        """The entities that the online store holds once it is brought to `moment`, sorted."""
        from tidegate.apps.model_features import known_entities

        return known_entities(self, model, moment)

    def apply_features(self, model: str) -> tuple[str, ...]:
        return self.feature_store(model).apply()

    def build_features(self, model: str, until: datetime | None = None) -> TablesReport:
        """Feature tables of data before `until` (default: just after the newest row), by the model's tables definition."""
        from tidegate.data.tables import build_tables

        definition = self.project.model(model).its_features().tables_definition
        return build_tables(definition, self.data(model), self.feature_folder(model).tables, until, self.progress)

    def materialize(self, model: str, until: datetime | None = None) -> int:
        """Bring the online store to `until` (default: now); returns the number of entities."""
        return self.feature_store(model).materialize(until or datetime.now(UTC))

    def contract(self, model: str) -> FeatureContract:
        return self.feature_store(model).contract(self.project.model(model).its_features().service)

    def online_features(self, model: str, entities: Sequence[str]) -> dict[str, dict[str, Any]]:
        """What the online store holds of keys as people write them (`domain.key_texts`): by entity `key`, `found`,
        `event_timestamp` (ISO) and `values` by stored feature, None where one is missing."""
        from tidegate.apps.model_features import online_features

        return online_features(self, model, entities)

    def features_at(self, model: str, entities: Sequence[str], moment: datetime) -> dict[str, dict[str, Any]]:
        """The same as the offline path knew it at a past moment."""
        from tidegate.apps.model_features import features_at

        return features_at(self, model, entities, moment)

    def freshness(self, model: str) -> list[dict[str, Any]]:
        """Of each view that the model's service reads: how far the online rows were brought, and how old the newest is."""
        from tidegate.apps.model_features import online_freshness

        return online_freshness(self, model)

    def check_features(self, model: str, entities: int) -> GateResult:
        """The online store's rows of up to `entities` entities against the offline path, value by value."""
        from tidegate.apps.model_features import check_features

        return check_features(self, model, entities)
