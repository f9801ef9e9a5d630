"""The on-demand features of daily demand: what is known about the day that a forecast is about.

One function for training, parity and serving, NumPy alone: it gets the stored features (`view__feature`), the request input
`horizon` and `event_timestamp` (the origin T, microseconds since the epoch, UTC) as arrays [n], and returns an array [n] a
derived feature. Horizon 1 is the day that begins at T. The shop is closed on Saturdays, from 24 December to 3 January, at
Easter and on the bank holidays of England: in two years of invoices one Saturday is the only exception.
"""

import numpy as np

DAY_US = 86_400_000_000
SATURDAY = 5  # Monday is 0
ROYAL_WEDDING = np.datetime64("2011-04-29")  # a bank holiday of its own, announced in November 2010


def calendar(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The derived features, float64 [n]; NaN where the stored features they rest on are."""
    horizon = inputs["horizon"].astype(np.int64)
    origin = (inputs["event_timestamp"].astype(np.int64) // DAY_US).astype("datetime64[D]")
    day = origin + (horizon - 1)
    year, month = day.astype("datetime64[Y]"), day.astype("datetime64[M]")
    weekday = (day.astype(np.int64) + 3) % 7  # 1 January 1970 was a Thursday
    yearday = (day - year.astype("datetime64[D]")).astype(np.float64)
    christmas = year.astype("datetime64[M]") + 11 + np.where(_month_day(day) > 1225, 12, 0)
    until_christmas = (christmas.astype("datetime64[D]") + 24 - day).astype(np.float64)
    closed = is_closed(day)
    history = "demand_history__"
    mean = inputs[history + "units_mean_28"]
    week_1 = horizon <= 7
    last_year = np.where(week_1, inputs[history + "last_year_week_1"], inputs[history + "last_year_week_2"])
    lift = np.where(week_1, inputs[history + "market_lift_week_1"], inputs[history + "market_lift_week_2"])
    same_weekday = np.stack([inputs[f"{history}weekday_mean_{i}"] for i in range(7)])
    return {
        "horizon_days": horizon.astype(np.float64),
        "weekday": weekday.astype(np.float64),
        "yearday_sin": np.sin(2 * np.pi * yearday / 365.25),
        "yearday_cos": np.cos(2 * np.pi * yearday / 365.25),
        "days_to_christmas": until_christmas,
        "closed": closed.astype(np.float64),
        "week_of_month": ((day - month.astype("datetime64[D]")).astype(np.int64) // 7 + 1).astype(np.float64),
        "weekday_mean": np.where(closed, 0.0, same_weekday[weekday, np.arange(len(weekday))]),
        "last_year_week": last_year,
        "last_year_ratio": _ratio(last_year, inputs[history + "last_year_before"]),
        "market_lift": lift,
        "expected_units": np.where(closed, 0.0, mean * np.where(np.isfinite(lift), lift, 1.0)),
        "trend": _ratio(inputs[history + "units_mean_7"], mean),
    }


def is_closed(day: np.ndarray) -> np.ndarray:
    """Whether no order is taken on each `day` (datetime64[D])."""
    weekday = (day.astype(np.int64) + 3) % 7
    date = _month_day(day)
    month_days = date % 100
    monday = weekday == 0
    early_may, late_may = monday & (date // 100 == 5) & (month_days <= 7), monday & (date // 100 == 5) & (month_days > 24)
    august = monday & (date // 100 == 8) & (month_days > 24)
    easter = (day - _easter_sunday(day)).astype(np.int64)
    holiday = early_may | late_may | august | np.isin(easter, (-2, 0, 1)) | (day == ROYAL_WEDDING)
    return (weekday == SATURDAY) | (date >= 1224) | (date <= 103) | holiday


def _month_day(day: np.ndarray) -> np.ndarray:
    """1224 for 24 December."""
    month = day.astype("datetime64[M]")
    return (month.astype(np.int64) % 12 + 1) * 100 + (day - month.astype("datetime64[D]")).astype(np.int64) + 1


def _easter_sunday(day: np.ndarray) -> np.ndarray:
    """Easter Sunday of the year of each day (Gregorian computus, Meeus, Astronomical Algorithms, chapter 8)."""
    year = day.astype("datetime64[Y]").astype(np.int64) + 1970
    a, b, c = year % 19, year // 100, year % 100
    d, e, f = b // 4, b % 4, (b + 8) // 25
    g = (b - f + 1) // 3
    h = (19 * a + b - d - g + 15) % 30
    i, k = c // 4, c % 4
    weekday = (32 + 2 * e + 2 * i - h - k) % 7
    m = (a + 11 * h + 22 * weekday) // 451
    total = h + weekday - 7 * m + 114
    first = ((year - 1970) * 12 + total // 31 - 1).astype("datetime64[M]").astype("datetime64[D]")
    return first + total % 31


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """NaN where the whole is not positive."""
    known = whole > 0
    return np.where(known, part / np.where(known, whole, 1.0), np.nan)


DERIVED = (
    "horizon_days",
    "weekday",
    "yearday_sin",
    "yearday_cos",
    "days_to_christmas",
    "closed",
    "week_of_month",
    "weekday_mean",
    "last_year_week",
    "last_year_ratio",
    "market_lift",
    "expected_units",
    "trend",
)
