"""Models that no package can hold, and why: told by `plan check`, and by the export before it reads anything."""

from __future__ import annotations

_OF_THE_HISTORY = "it forecasts from the whole price history by statsforecast's own recursion, which ONNX does not have"
_OF_VARIANCE = "it forecasts a variance and no price; `cbi-queue forecast` tells that of the newest rows"
_OF_OTHERS = "it combines the forecasts of other runs; export its best member"
_OF_A_REGIME = "it forecasts for one regime only, and its mixture reads it; export the net without regimes"
NOT_EXPORTED: dict[str, str] = {
    "seasonal_naive": "it looks up the price of one season ago; one line of any program does that",
    **dict.fromkeys(("arima", "auto_arima", "ets", "theta"), _OF_THE_HISTORY),
    "prophet": "it forecasts by Prophet's own model, which ONNX does not have",
    **dict.fromkeys(("garch", "gjr_garch", "egarch", "quantile_net"), _OF_VARIANCE),
    **dict.fromkeys(("mean_ensemble", "median_ensemble", "greedy_ensemble", "lightgbm_stacker"), _OF_OTHERS),
    **dict.fromkeys(("regime_lstm", "regime_gru"), _OF_A_REGIME),
    "regime_mixture": "it combines the forecasts of the nets of the regimes; export the net without regimes",
    "regime_lightgbm": "it forecasts the probabilities of regimes and no price; `cbi-queue forecast` tells those of the newest rows",
}
"""Model -> why."""
