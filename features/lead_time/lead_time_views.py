"""Feast's definitions of lead times: a lane's three join keys, three views that each have their part of them, and the service.

The tables behind the views are made by lead_time_tables.py and lie in the model's feature folder (TIDEGATE_FEATURES, else
the one of the model `lead_time` in build/state beside this repository). What is older than a view's TTL says nothing any
more about how fast deliveries are now, and is missing, online as in training.
"""

import os
from datetime import timedelta
from pathlib import Path

from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.types import Float64, String
from lead_time_tables import VIEWS, numbers, texts

FOLDER = Path(os.environ.get("TIDEGATE_FEATURES") or Path(__file__).resolve().parents[2] / "build/state/features/lead_time")
KEEPS = {"lane_history": timedelta(days=730), "vendor_history": timedelta(days=730), "country_history": timedelta(days=365)}
ABOUT = {
    "lane_history": "Days that the last deliveries from the vendor to the country by the mode took",
    "vendor_history": "Days that the vendor's last deliveries took, wherever they went",
    "country_history": "Days that the last deliveries to the country took, whoever sent them",
}

vendor = Entity(name="vendor", join_keys=["vendor"], value_type=ValueType.STRING, description="Who delivers")
country = Entity(name="country", join_keys=["country"], value_type=ValueType.STRING, description="Where it is delivered to")
mode = Entity(name="mode", join_keys=["mode"], value_type=ValueType.STRING, description="Air, Air Charter, Ocean, Truck or N/A")
ENTITIES = {"vendor": vendor, "country": country, "mode": mode}


def stored_view(name: str) -> FeatureView:
    return FeatureView(
        name=name,
        entities=[ENTITIES[key] for key in VIEWS[name][0]],
        ttl=KEEPS[name],
        schema=[
            *(Field(name=key, dtype=String) for key in VIEWS[name][0]),
            *(Field(name=feature, dtype=Float64) for feature in numbers(name)),
            *(Field(name=feature, dtype=String) for feature in texts(name)),
        ],
        source=FileSource(
            name=f"{name}_table",
            path=str(FOLDER / "tables" / f"{name}.parquet"),
            timestamp_field="event_timestamp",
        ),
        description=ABOUT[name],
    )


lane_history = stored_view("lane_history")
vendor_history = stored_view("vendor_history")
country_history = stored_view("country_history")

lead_time = FeatureService(
    name="lead_time",
    features=[lane_history, vendor_history, country_history],
    description="What the model of lead times reads of the past; what is asked about comes with the request",
)
