"""The models that can be trained: one row for each that ships, then those of installed packages. Cheap to import.

A day plan is checked against these rows before any ML library is loaded, and the daemon reads them too. Numbers that limit
memory (batch ceilings, sequence lengths) belong to the machine and live in `hardware`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Literal

from cbi_queue.models.entry import SAME_COST, ModelEntry
from cbi_queue.models.kinds import Family
from cbi_queue.models.memory_formulas import (
    BOOSTED_REGIMES,
    BOOSTING,
    CONVOLUTIONAL,
    DECLARED,
    DENSE,
    PLAIN_TABLE,
    PRETRAINED_BERT,
    PROPHET,
    RECURRENT_1_LAYER,
    RECURRENT_2_LAYER,
    STACKING,
    TABLE,
    TRANSFORMER,
    VOLATILITY_NET,
)

if TYPE_CHECKING:
    from cbi_queue.models.outside import Outside


def _statistical(name: str, file: str, resumes_from: Literal["checkpoint", "start"], words: str) -> ModelEntry:
    params = f"cbi_queue.models.parameters.statistical:{name}Params"
    trainers = {"native": f"jobs.families.{file}:{name}"}
    memory = PLAIN_TABLE if file == "baselines" else TABLE
    return ModelEntry(Family.STATISTICAL, params, trainers, resumes_from, words, memory=memory)


def _volatility(name: str, words: str) -> ModelEntry:
    params = "cbi_queue.models.parameters.volatility:VolatilityParams"
    trainers = {"native": f"jobs.families.volatility:{name}"}
    return ModelEntry(Family.VOLATILITY, params, trainers, "checkpoint", words, needs_returns=True)


def _ensemble(name: str, params: str, words: str) -> ModelEntry:
    params, trainer = f"cbi_queue.models.parameters.meta:{params}", f"jobs.families.ensembles:{name}"
    return ModelEntry(Family.META, params, {"native": trainer}, "checkpoint", words, memory=PLAIN_TABLE)


def _recurrent(layers: Literal[1, 2], words: str) -> ModelEntry:
    return ModelEntry(
        Family.SIMPLE_NEURAL if layers == 1 else Family.ADVANCED_NEURAL,
        "cbi_queue.models.parameters.neural:RecurrentParams",
        {"torch": "jobs.families.recurrent:Recurrent", "tensorflow": "jobs.families.keras_nets:KerasRecurrent"},
        resumes_from="checkpoint",
        words=words,
        memory=RECURRENT_1_LAYER if layers == 1 else RECURRENT_2_LAYER,
        batch_kind=f"recurrent_{layers}_layer",
    )


def _of_regime(words: str) -> ModelEntry:
    return ModelEntry(
        Family.REGIME_SPECIFIC,
        "cbi_queue.models.parameters.regimes:RegimeNetParams",
        {"torch": "jobs.families.recurrent:RegimeRecurrent"},
        resumes_from="checkpoint",
        words=words,
        memory=RECURRENT_1_LAYER,
        batch_kind="recurrent_1_layer",
        needs_returns=True,
        same_cost=SAME_COST | {"regime", "other_weight", "least_rows"},
    )


SHIPPED: dict[str, ModelEntry] = {
    "feature_cache": ModelEntry(
        Family.FEATURES,
        "cbi_queue.models.parameters.features:FeatureParams",
        {"native": "jobs.families.feature_cache:FeatureCache"},
        resumes_from="start",
        words="lags, rolling statistics, momentum and interactions",
    ),
    "lightgbm_dart": ModelEntry(
        Family.TREES,
        "cbi_queue.models.parameters.trees:LightGBMDartParams",
        {"native": "jobs.families.lightgbm_trees:LightGBMDart"},
        resumes_from="start",
        words="LightGBM, DART boosting",
        memory=BOOSTING,
    ),
    "xgboost_dart": ModelEntry(
        Family.TREES,
        "cbi_queue.models.parameters.trees:XGBoostDartParams",
        {"native": "jobs.families.xgboost_trees:XGBoostDart"},
        resumes_from="checkpoint",  # from the start where it draws rows or columns
        words="XGBoost, DART booster",
        memory=BOOSTING,
    ),
    "naive": _statistical("Naive", "baselines", "start", "the last price stays"),
    "seasonal_naive": _statistical("SeasonalNaive", "baselines", "start", "the price of one season ago"),
    "drift": _statistical("Drift", "baselines", "start", "the mean return continues"),
    "arima": _statistical("ARIMA", "rolling_fits", "checkpoint", "ARIMA of given orders"),
    "auto_arima": _statistical("AutoARIMA", "rolling_fits", "checkpoint", "automatic ARIMA"),
    "ets": _statistical("ETS", "rolling_fits", "checkpoint", "automatic exponential smoothing"),
    "theta": _statistical("Theta", "rolling_fits", "checkpoint", "the Theta method"),
    "prophet": ModelEntry(
        Family.STATISTICAL,
        "cbi_queue.models.parameters.statistical:ProphetParams",
        {"native": "jobs.families.prophet_fits:ProphetPrice"},
        resumes_from="checkpoint",
        words="Prophet: a trend with changepoints and the year",
        memory=PROPHET,
        extra="prophet",
        needs_returns=True,
    ),
    "feed_forward": ModelEntry(
        Family.SIMPLE_NEURAL,
        "cbi_queue.models.parameters.neural:FeedForwardParams",
        {"torch": "jobs.families.feed_forward:FeedForward", "tensorflow": "jobs.families.keras_nets:KerasFeedForward"},
        resumes_from="checkpoint",
        words="feed-forward net over a window",
        memory=DENSE,
        batch_kind="feed_forward",
    ),
    "lstm": _recurrent(1, "LSTM, one layer"),
    "gru": _recurrent(1, "GRU, one layer"),
    "lstm_2_layer": _recurrent(2, "LSTM, two layers"),
    "gru_2_layer": _recurrent(2, "GRU, two layers"),
    "tcn": ModelEntry(
        Family.ADVANCED_NEURAL,
        "cbi_queue.models.parameters.neural:TCNParams",
        {"torch": "jobs.families.temporal_convolution:TemporalConvolution"},
        resumes_from="checkpoint",
        words="temporal convolutional net",
        memory=CONVOLUTIONAL,
        batch_kind="tcn",
    ),
    "attention": ModelEntry(
        Family.ADVANCED_NEURAL,
        "cbi_queue.models.parameters.neural:AttentionParams",
        {"torch": "jobs.families.attention:Attention"},
        resumes_from="checkpoint",
        words="tiny attention encoder",
        memory=TRANSFORMER,
        batch_kind="attention",
    ),
    "garch": _volatility("Garch", "GARCH(1,1) with Student's t"),
    "gjr_garch": _volatility("GjrGarch", "GJR-GARCH: falls count more than rises"),
    "egarch": _volatility("Egarch", "EGARCH: of the logarithm of the variance"),
    "quantile_net": ModelEntry(
        Family.VOLATILITY,
        "cbi_queue.models.parameters.volatility:QuantileNetParams",
        {"torch": "jobs.families.volatility_net:QuantileVolatility"},
        resumes_from="checkpoint",
        words="net: variance and quantiles of the return",
        memory=VOLATILITY_NET,
        batch_kind="feed_forward",
        needs_returns=True,
    ),
    "regime_lightgbm": ModelEntry(
        Family.REGIME_CLASSIFIER,
        "cbi_queue.models.parameters.regimes:RegimeClassifierParams",
        {"native": "jobs.families.regime_classifier:RegimeLightGBM"},
        resumes_from="start",
        words="LightGBM: probabilities of crisis, bull, bear, normal",
        needs_returns=True,
        memory=BOOSTED_REGIMES,
    ),
    "regime_lstm": _of_regime("LSTM of one regime"),
    "regime_gru": _of_regime("GRU of one regime"),
    "regime_mixture": ModelEntry(
        Family.REGIME_SPECIFIC,
        "cbi_queue.models.parameters.regimes:RegimeMixtureParams",
        {"native": "jobs.families.regime_mixture:RegimeMixture"},
        resumes_from="start",
        words="the nets of the regimes, weighted by their probabilities",
        memory=PLAIN_TABLE,
        needs_returns=True,
    ),
    "mean_ensemble": _ensemble("Mean", "EnsembleParams", "the mean of other models' forecasts"),
    "median_ensemble": _ensemble("Median", "EnsembleParams", "the median of other models' forecasts"),
    "greedy_ensemble": _ensemble("Greedy", "GreedyParams", "weights chosen greedily (Caruana)"),
    "lightgbm_stacker": ModelEntry(
        Family.META,
        "cbi_queue.models.parameters.meta:StackerParams",
        {"native": "jobs.families.stacker:Stacker"},
        resumes_from="checkpoint",
        words="LightGBM on other models' forecasts",
        memory=STACKING,
    ),
    "finbert": ModelEntry(
        Family.SENTIMENT,
        "cbi_queue.models.parameters.text:FinbertParams",
        {"torch": "jobs.families.finbert:Finbert"},
        resumes_from="checkpoint",
        words="sentiment of headlines by FinBERT",
        memory=PRETRAINED_BERT,
        batch_kind="finbert",
    ),
    "vertex_package": ModelEntry(
        Family.EXPORT,
        "cbi_queue.models.parameters.export:ExportParams",
        {"native": "jobs.families.vertex_package:VertexPackage"},
        resumes_from="start",
        words="the best model of the horizon, for Vertex AI",
    ),
    "backtest": ModelEntry(
        Family.BACKTEST,
        "cbi_queue.models.parameters.export:BacktestParams",
        {"native": "jobs.families.backtest:Backtest"},
        resumes_from="start",
        words="what the best models of the horizon would have made",
    ),
    "daily_forecast": ModelEntry(
        Family.FORECAST,
        "cbi_queue.models.parameters.export:DailyForecastParams",
        {"native": "jobs.families.daily_forecast:DailyForecast"},
        resumes_from="start",
        words="today's forecasts by the best model of each horizon",
    ),
    "command": ModelEntry(
        Family.SCRIPT,
        "cbi_queue.models.parameters.script:ScriptParams",
        {"native": "jobs.families.script:Script"},
        resumes_from="start",
        words="a command of your own, in its own environment",
        memory=DECLARED,
    ),
}

BATCH_KINDS = tuple(dict.fromkeys(entry.batch_kind for entry in SHIPPED.values() if entry.batch_kind))
"""Kinds of net that a hardware profile may name."""


@cache
def outside() -> Outside:
    """Find the models of installed packages, once in a process."""
    from cbi_queue.models.outside import find_outside

    return find_outside(SHIPPED)


def has_outside_code() -> bool:
    """Return True if this process looked for models of installed packages, and has some: its trainer may be one of them."""
    return bool(outside.cache_info().currsize and outside().packages)


class _Models(Mapping[str, ModelEntry]):
    """The rows that ship, then those from outside: looked for when a name does not ship, or when all are listed."""

    def __getitem__(self, name: str) -> ModelEntry:
        return SHIPPED[name] if name in SHIPPED else outside().models[name]

    def __iter__(self) -> Iterator[str]:
        return iter((*SHIPPED, *outside().models))

    def __len__(self) -> int:
        return len(SHIPPED) + len(outside().models)


MODELS: Mapping[str, ModelEntry] = _Models()


def entry_for(family: object, model: object) -> ModelEntry | None:
    """Return the entry of *model* when it exists and is of *family*, else None."""
    entry = MODELS.get(model) if isinstance(model, str) else None
    return entry if entry is not None and entry.family == family else None


def models_of(family: str) -> tuple[str, ...]:
    """Names of the models of *family*, in catalogue order."""
    return tuple(name for name, entry in {**SHIPPED, **outside().models}.items() if entry.family == family)
