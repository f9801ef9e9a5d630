"""Evidently measures the distances and gives the verdict by the thresholds it is handed: never by its defaults.

Its defaults depend on the reference's size alone and alarm falsely on small windows, so each column gets a `ValueDrift` of its
own with method and threshold. `include_tests` yields Evidently's verdict from the same computation; presets, which
compute every column three times, are not used.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence

import numpy as np

from tidegate.domain.errors import InvalidInput
from tidegate.ports.drift import DriftCheck, DriftScore


class EvidentlyDriftMeter:
    """Implements `tidegate.ports.drift.DriftMeter`."""

    def measure(
        self, reference: Mapping[str, np.ndarray], current: Mapping[str, np.ndarray], checks: Sequence[DriftCheck]
    ) -> Mapping[str, DriftScore]:
        if not checks:
            return {}
        os.environ.setdefault("DO_NOT_TRACK", "1")  # Evidently's telemetry
        import pandas as pd
        from evidently import DataDefinition, Dataset, Report
        from evidently.core.metric_types import SingleValue
        from evidently.metrics import ValueDrift

        names = [check.feature for check in checks]
        texts = [check.feature for check in checks if check.category]
        numbers = [check.feature for check in checks if not check.category]
        definition = DataDefinition(numerical_columns=numbers, categorical_columns=texts)
        metrics = [ValueDrift(column=check.feature, method=check.method, threshold=check.threshold) for check in checks]
        frames = [pd.DataFrame(_padded(checks, columns)) for columns in (reference, current)]
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")  # correlations of constant columns, which nobody asked for
                snapshot = Report(metrics, include_tests=True).run(
                    Dataset.from_pandas(frames[1], definition), Dataset.from_pandas(frames[0], definition)
                )
        except ValueError as error:
            raise InvalidInput(
                f"Evidently cannot compare {len(names)} features over {len(frames[1])} vectors: {error}"
            ) from error
        scores = {}
        for result in snapshot.metric_results.values():
            column = result.metric_value_location.metric.params["column"]
            if not isinstance(result, SingleValue) or len(result.tests) != 1:
                raise InvalidInput(f"Evidently gave no verdict on feature '{column}'; its version is not the one pinned")
            scores[column] = DriftScore(float(result.value), result.tests[0].status.value == "FAIL")
        return {name: scores[name] for name in names}


def _padded(checks: Sequence[DriftCheck], columns: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Columns of one length: shorter ones get missing values, which are left out of a comparison."""
    longest = max(len(columns[check.feature]) for check in checks)
    padded = {}
    for check in checks:
        values = columns[check.feature]
        gap = np.full(longest - len(values), None if check.category else np.nan, dtype=object if check.category else float)
        padded[check.feature] = np.concatenate([values, gap]) if len(gap) else values
    return padded
