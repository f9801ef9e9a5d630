"""From stored features and request inputs to every feature of the vector: one piece of code for training, parity and serving.

That both paths make them here is what makes served and offline values comparable one by one. `domain.assembly` makes tensors
of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from tidegate.domain.assembly import numbers
from tidegate.domain.contract import FeatureContract
from tidegate.domain.errors import InvalidInput
from tidegate.files.source_code import Sources

OnDemand = Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]
Columns = dict[str, np.ndarray]
NO_TEXTS: Mapping[str, np.ndarray] = {}


def load_on_demand(sources: Sources, reference: str) -> OnDemand:
    """The function `module.py:function` of `sources`: those of a release, whose bytes were verified, or of a repository."""
    file, _, name = reference.partition(":")
    try:
        function = getattr(sources.module(file), name, None)
    except Exception as error:
        raise InvalidInput(
            f"on-demand transformation '{reference}' cannot be loaded: {type(error).__name__}: {error}"
        ) from error
    if not callable(function):
        raise InvalidInput(f"on-demand transformation '{reference}': {sources.root / file} defines no function '{name}'")
    return function  # type: ignore[no-any-return]


def stored_names(contract: FeatureContract) -> list[str]:
    """`view__feature` for each stored feature that is no text, in the order of `OnlineRows.values`."""
    return list(contract.stored_numbers)


def text_names(contract: FeatureContract) -> list[str]:
    """`view__feature` for each stored text, as `OnlineRows.texts` has them."""
    return list(contract.stored_texts)


def feature_columns(
    contract: FeatureContract,
    stored: np.ndarray,
    event_times: np.ndarray,
    request: Mapping[str, np.ndarray],
    on_demand: OnDemand | None,
    texts: Mapping[str, np.ndarray] = NO_TEXTS,
) -> Columns:
    """Each feature of the vector by its name: float64 [n], NaN where it is missing, or `str` or None [n].

    `stored` is float64 [n, stored features], `event_times` int64 [n] in microseconds since the epoch (UTC), `request`
    one array [n] for each of the contract's request inputs. The on-demand function gets all of these by name
    (`view__feature`, the request inputs, `event_timestamp`) and returns an array [n] for each derived feature.
    """
    columns: Columns = {name: stored[:, i] for i, name in enumerate(contract.stored_numbers)}
    columns.update({name: texts[name] for name in contract.stored_texts})
    if contract.on_demand:
        if on_demand is None:
            raise InvalidInput(f"feature service '{contract.service}' needs its on-demand transformation {contract.on_demand}")
        inputs = dict(columns)
        inputs.update({name: np.asarray(request[name]) for name in contract.request})
        inputs["event_timestamp"] = event_times
        derived = on_demand(inputs)
        columns.update({name: np.asarray(derived[name]) for name in contract.derived})
    return columns


def assemble(
    contract: FeatureContract,
    stored: np.ndarray,
    event_times: np.ndarray,
    request: Mapping[str, np.ndarray],
    on_demand: OnDemand | None,
) -> np.ndarray:
    """All features as one array, float32 [n, F] in the contract's order, of a contract without texts. See `feature_columns`."""
    return numbers(feature_columns(contract, stored, event_times, request, on_demand), contract.vector, np.dtype(np.float32))
