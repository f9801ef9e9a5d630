"""Gates of a model without features have all that they look at; only what recomputes features says that there are none."""

from __future__ import annotations

import polars as pl
import pytest

from tidegate.apps.gates import NoFeatures
from tidegate.domain.contract import FeatureContract
from tidegate.domain.errors import InvalidInput


def test_nothing_is_recomputed_of_a_model_without_features():
    with pytest.raises(InvalidInput, match="has no features in the project file"):
        NoFeatures().historical(FeatureContract("", "", {}, ()), pl.DataFrame())
