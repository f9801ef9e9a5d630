"""Demand forecast: SKUs and a horizon in, quantiles of units for each of the next days out.

A forecast is made at the SKU's latest feature row, event timestamp T: everything before T is known. Day h of the horizon
is date(T) + h - 1, so the first day is the one that T begins.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Annotated

import bentoml
import numpy as np
from pydantic import Field

from tidegate.api.serving import Call, Endpoint, Message

MICROSECONDS_A_DAY = 86_400_000_000
EPOCH = date(1970, 1, 1)

Sku = Annotated[str, Field(min_length=1, max_length=64)]


class ForecastRequest(Message):
    """Which SKUs, and how many days ahead."""

    skus: Annotated[list[Sku], Field(min_length=1, max_length=100, description="SKUs, answered in this order")]
    horizon: Annotated[int, Field(ge=1, le=14, description="number of days to forecast")]


class Day(Message):
    """Units that will be ordered on `date`: quantiles 0.1, 0.5 and 0.9."""

    date: str
    q10: float
    q50: float
    q90: float


class Forecast(Message):
    sku: str
    days: list[Day]


class ForecastResponse(Message):
    """`as_of`: everything before it was known to all forecasts (the oldest event timestamp of the SKUs' features)."""

    model: str
    release: str
    as_of: str
    forecasts: list[Forecast]


def forecast(call: Call, request: ForecastRequest) -> ForecastResponse:
    """One vector for each SKU and day, all in one prediction."""
    days = request.horizon
    entities = [sku for sku in request.skus for _ in range(days)]
    horizons = np.tile(np.arange(1, days + 1, dtype=np.int64), len(request.skus))
    prediction = call.predict(entities, {"horizon": horizons})
    quantiles = prediction.outputs["quantiles"].tolist()
    first_days = (prediction.event_times // MICROSECONDS_A_DAY).tolist()
    forecasts = []
    for i, sku in enumerate(request.skus):
        rows = range(i * days, (i + 1) * days)
        forecasts.append(Forecast(sku=sku, days=[_day(first_days[r], r - i * days, quantiles[r]) for r in rows]))
    as_of = datetime.fromtimestamp(int(prediction.event_times.min()) / 1e6, UTC).isoformat()
    return ForecastResponse(model=call.model, release=call.release, as_of=as_of, forecasts=forecasts)


def _day(first_day: int, offset: int, quantiles: list[float]) -> Day:
    q10, q50, q90 = quantiles
    return Day(date=(EPOCH + timedelta(days=first_day + offset)).isoformat(), q10=q10, q50=q50, q90=q90)


endpoint = Endpoint("/predict", ForecastRequest, ForecastResponse, forecast)


@bentoml.service(name="demand", traffic={"timeout": 10})
class Demand:
    """Daily demand of each SKU."""

    @bentoml.api(route="/predict")
    async def predict(self, request: ForecastRequest, /) -> ForecastResponse:
        """Forecast the units of each SKU for each day of the horizon."""
        return endpoint.answer(request)
