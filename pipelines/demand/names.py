"""Names that the steps share: the tensors of the model, its quantiles, and the forecasts that are compared."""

INPUT, OUTPUT = "features", "quantiles"
QUANTILES = (0.1, 0.5, 0.9)
QUANTILE_COLUMNS = ("q10", "q50", "q90")
MODEL_FORECAST, CHAMPION_FORECAST = "model", "champion"
BASELINES = ("seasonal_naive", "mean_28", "croston_sba")
