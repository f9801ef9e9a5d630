"""Feast's definitions of daily demand: the SKU, its two stored views, the calendar made on demand, and the service of the
model.

The tables behind the views are made by demand_tables.py and lie in the model's feature folder (TIDEGATE_FEATURES, else the one
of the model `demand` in build/state beside this repository). The service's order is the order of the model's input. Stored
features that only the calendar reads (a mean for each weekday) are sources of the on-demand view and no part of the service.
"""

import os
from datetime import timedelta
from pathlib import Path

import pandas as pd
from demand_calendar import DERIVED
from feast import Entity, FeatureService, FeatureView, Field, FileSource, RequestSource, ValueType
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Float64, Int64, UnixTimestamp

FOLDER = Path(os.environ.get("TIDEGATE_FEATURES") or Path(__file__).resolve().parent.parent / "build/state/features/demand")
# Rows are daily, so the latest one is never older; a longer look-back makes the offline join sort more rows (28 days: 3 x).
FRESH = timedelta(days=7)

sku = Entity(name="sku", join_keys=["sku"], value_type=ValueType.STRING, description="A product's stock code, upper case")


def stored_view(name: str, description: str, features: list[str]) -> FeatureView:
    source = FileSource(
        name=f"{name}_table",
        path=str(FOLDER / "tables" / f"{name}.parquet"),
        timestamp_field="event_timestamp",
    )
    schema = [Field(name=feature, dtype=Float64) for feature in features]
    return FeatureView(name=name, entities=[sku], ttl=FRESH, schema=schema, source=source, description=description)


HISTORY = [
    "units_lag_1",
    "units_lag_2",
    "units_lag_3",
    "units_lag_7",
    "units_mean_7",
    "units_mean_28",
    "units_mean_91",
    "units_recent",
    "units_std_28",
    "units_median_28",
    "units_max_28",
    "selling_share_28",
    "days_since_sale",
    "orders_28",
    "return_share_91",
    "market_trend",
]
AHEAD = [  # of the next two weeks: read by the calendar, which picks by the target day
    "last_year_week_1",
    "last_year_week_2",
    "last_year_before",
    "market_lift_week_1",
    "market_lift_week_2",
    *(f"weekday_mean_{weekday}" for weekday in range(7)),
]

demand_history = stored_view("demand_history", "Units of the SKU and of all SKUs up to the day", [*HISTORY, *AHEAD])
sku_profile = stored_view(
    "sku_profile",
    "Prices, age and customers of the SKU up to the day",
    ["price_last", "price_median_28", "price_relative", "price_band", "age_days", "home_share_91", "line_size_91"],
)

forecast_request = RequestSource(
    name="forecast_request",
    # The origin is the event timestamp of the stored row: Tidegate adds it, no client sends it.
    schema=[Field(name="horizon", dtype=Int64), Field(name="event_timestamp", dtype=UnixTimestamp)],
)


@on_demand_feature_view(
    sources=[demand_history[["units_mean_7", "units_mean_28", *AHEAD]], forecast_request],
    schema=[Field(name=feature, dtype=Float64) for feature in DERIVED],
    mode="pandas",
    description="What is known about the target day",
)
def demand_calendar(inputs: pd.DataFrame) -> pd.DataFrame:
    # Feast runs this function from its text alone, so it imports what it needs.
    import numpy as np
    import pandas as pd
    from demand_calendar import calendar

    stored = [name for name in inputs.columns if name not in ("horizon", "event_timestamp")]
    arrays = {
        name if "__" in name else f"demand_history__{name}": inputs[name].astype(np.float64).to_numpy() for name in stored
    }
    arrays["horizon"] = inputs["horizon"].to_numpy()
    times = pd.to_datetime(inputs["event_timestamp"], utc=True).dt.tz_localize(None)
    arrays["event_timestamp"] = times.to_numpy().astype("datetime64[us]").astype(np.int64)
    return pd.DataFrame(calendar(arrays), index=inputs.index)


demand = FeatureService(
    name="demand",
    features=[demand_history[HISTORY], sku_profile, demand_calendar],
    description="What the demand model reads, in its order",
    # The file and function of the on-demand features, which Tidegate runs from source: it loads no pickled function.
    tags={"on_demand": "demand_calendar.py:calendar"},
)
