"""Lead times: shipments in, how long each will take as quantiles of days out.

Where an order was sent, days are counted from it; where there is only a schedule, from the scheduled day (negative: early).
The quantiles come from what is known of the lane, the vendor and the country, and from what the request says of the goods.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

import bentoml
import numpy as np
from pydantic import Field

from tidegate.api.serving import Call, Endpoint, Message

Text = Annotated[str, Field(min_length=1, max_length=128)]


class Shipment(Message):
    """A shipment that is to come: who sends it to where and how, on which terms, and what it is."""

    vendor: Text
    country: Text
    mode: Annotated[str, Field(min_length=1, max_length=32, description="Air, Air Charter, Ocean, Truck or N/A")]
    counted_from: Annotated[Literal["order", "schedule"], Field(description="an order was sent, or there is a schedule alone")]
    month: Annotated[int, Field(ge=1, le=12, description="of the order, or of the scheduled day")]
    incoterm: Text
    product_class: Text
    dosage_form: Text
    first_line: bool
    quantity: Annotated[float, Field(ge=0, le=1e9, description="units")]
    pack_price: Annotated[float, Field(ge=0, le=1e6, description="US dollars")]


class LeadTimeRequest(Message):
    shipments: Annotated[list[Shipment], Field(min_length=1, max_length=100, description="answered in this order")]


class LeadTime(Message):
    """Days that will pass: 80 of 100 deliveries are expected between `q10` and `q90`."""

    counted_from: str
    q10: float
    q50: float
    q90: float


class LeadTimeResponse(Message):
    """`as_of`: everything before it was known to all answers (the oldest event timestamp of their features)."""

    model: str
    release: str
    as_of: str
    lead_times: list[LeadTime]


TEXTS = ("counted_from", "incoterm", "product_class", "dosage_form")
NUMBERS = ("quantity", "pack_price", "month")


def lead_times(call: Call, request: LeadTimeRequest) -> LeadTimeResponse:
    """One prediction for all shipments."""
    shipments = request.shipments
    entities = [{"vendor": each.vendor, "country": each.country, "mode": each.mode} for each in shipments]
    inputs = {name: np.array([getattr(each, name) for each in shipments], object) for name in TEXTS}
    inputs |= {name: np.array([getattr(each, name) for each in shipments], np.float32) for name in NUMBERS}
    inputs["first_line"] = np.array([each.first_line for each in shipments])
    prediction = call.predict(entities, inputs)
    answers = [
        LeadTime(counted_from=each.counted_from, q10=q10, q50=q50, q90=q90)
        for each, (q10, q50, q90) in zip(shipments, prediction.outputs["quantiles"].tolist(), strict=True)
    ]
    as_of = datetime.fromtimestamp(int(prediction.event_times.min()) / 1e6, UTC).isoformat()
    return LeadTimeResponse(model=call.model, release=call.release, as_of=as_of, lead_times=answers)


endpoint = Endpoint("/predict", LeadTimeRequest, LeadTimeResponse, lead_times)


@bentoml.service(name="lead_time", traffic={"timeout": 10})
class LeadTimes:
    """How long shipments take."""

    @bentoml.api(route="/predict")
    async def predict(self, request: LeadTimeRequest, /) -> LeadTimeResponse:
        """Answer how long each shipment will take."""
        return endpoint.answer(request)
