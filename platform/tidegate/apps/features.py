"""A model's features, opened: its folder, its store, and where its online rows are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tidegate.apps import wiring
from tidegate.domain.project import Project
from tidegate.files.feature_folder import FeatureFolder, feature_folder

if TYPE_CHECKING:
    from tidegate.adapters.feast.features import FeastFeatureStore


def open_features(project: Project, model: str) -> FeatureFolder:
    """The feature folder of a model, wherever an earlier version kept it; raises NotFound for another model."""
    settle_features(project)
    return feature_folder(project.state, project.model(model).name)


def settle_features(project: Project) -> None:
    """Give what an earlier version kept for all models to each; nothing otherwise. Before anything reads features."""
    from tidegate.adapters.feast.flat_features import take_over

    take_over(project.state, list(project.models))


def feature_store(project: Project, model: str, folder: FeatureFolder | None = None) -> FeastFeatureStore:
    """The store of a model's features, by default in its own folder, whose own feature service is the project file's."""
    features, where = project.model(model).its_features(), folder or open_features(project, model)
    return wiring.feature_store(features.repo, where, project.local.online_store, features.service)
