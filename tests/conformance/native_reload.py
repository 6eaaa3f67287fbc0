"""Each model read from its run folder with the native library alone, and asked for given rows again.

A model added to the catalogue adds its way of being read here; `test_families` compares it with what the run said.
"""

from __future__ import annotations

import importlib
import inspect
import json
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from jobs.data.series import ForecastFrame


def lightgbm_again(run_dir: Path, frame: ForecastFrame, rows: np.ndarray) -> np.ndarray:
    import lightgbm

    return lightgbm.Booster(model_file=str(run_dir / "model.txt")).predict(frame.x[rows], num_threads=1)


def xgboost_again(run_dir: Path, frame: ForecastFrame, rows: np.ndarray) -> np.ndarray:
    import xgboost

    matrix = xgboost.DMatrix(frame.x[rows], feature_names=list(frame.feature_names), nthread=1)
    return xgboost.Booster({"nthread": 1}, model_file=str(run_dir / "model.ubj")).predict(matrix)


def baseline_again(run_dir: Path, frame: ForecastFrame, rows: np.ndarray) -> np.ndarray:
    baselines = importlib.import_module("jobs.families.baselines")
    model = json.loads((run_dir / "model.json").read_bytes())
    return baselines.forecast(model, frame.price, frame.horizon_days)[rows]


ROLLING = {
    "arima": "rolling_fits:ARIMA",
    "auto_arima": "rolling_fits:AutoARIMA",
    "ets": "rolling_fits:ETS",
    "theta": "rolling_fits:Theta",
    "prophet": "prophet_fits:ProphetPrice",
    "garch": "volatility:Garch",
    "gjr_garch": "volatility:GjrGarch",
    "egarch": "volatility:Egarch",
}


def rolling_again(run_dir: Path, frame: ForecastFrame, rows: np.ndarray) -> np.ndarray:
    model = json.loads((run_dir / "model.json").read_bytes())
    module, _, name = ROLLING[model["model"]].partition(":")
    family = getattr(importlib.import_module(f"jobs.families.{module}"), name)()
    fit_rows = np.array([fit["fit_row"] for fit in model["fits"]])
    fit_of = np.searchsorted(fit_rows, rows, side="right") - 1
    chosen = [(model["fits"][number], np.array([row])) for number, row in zip(fit_of, rows, strict=True)]
    return np.array([family.forecast_rows(fit, frame, row)[0] for fit, row in chosen])


def classifier_again(run_dir: Path, frame: ForecastFrame, rows: np.ndarray) -> np.ndarray:
    import lightgbm

    regimes, made = (
        importlib.import_module("jobs.evaluation.regimes"),
        json.loads((run_dir / "preproc.json").read_bytes()),
    )
    told = lightgbm.Booster(model_file=str(run_dir / "model.txt")).predict(frame.x, num_threads=1)
    regime = regimes.regimes(regimes.changes(frame.price), regimes.Rule(**made["rule"]))
    return regimes.mixed(told, regimes.persistence(regime, frame.horizon_days), made["share"])[rows, regimes.BULL]


def mixture_again(run_dir: Path, frame: ForecastFrame, rows: np.ndarray) -> np.ndarray:
    import polars as pl

    parts = pl.read_parquet(run_dir / "model-parts.parquet")
    told, said = (parts.select(f"{of}_{name}" for name in ("crisis", "bull", "bear", "normal")) for of in "pf")
    factor = json.loads((run_dir / "preproc.json").read_bytes())["forecast_factor"]
    return factor * (told.to_numpy() * said.to_numpy()).sum(axis=1)[rows]


NETS = {
    "feed_forward": "feed_forward:FeedForwardNet",
    "lstm": "recurrent:RecurrentNet",
    "gru": "recurrent:RecurrentNet",
    "lstm_2_layer": "recurrent:RecurrentNet",
    "gru_2_layer": "recurrent:RecurrentNet",
    "tcn": "temporal_convolution:TemporalConvolutionNet",
    "attention": "attention:AttentionNet",
    "regime_lstm": "recurrent:RecurrentNet",
    "regime_gru": "recurrent:RecurrentNet",
}


def net_again(run_dir: Path, frame: ForecastFrame, rows: np.ndarray) -> np.ndarray:
    import torch
    from safetensors.torch import load_file

    told = json.loads((run_dir / "model.json").read_bytes())
    made = json.loads((run_dir / "preproc.json").read_bytes())
    module, _, name = NETS[told["kind"]].partition(":")
    net_class = getattr(importlib.import_module(f"jobs.families.{module}"), name)
    net = net_class(**{key: told[key] for key in inspect.signature(net_class).parameters})
    net.load_state_dict(load_file(run_dir / told["weights"]))
    z = (frame.x - np.array(made["mean"])) * np.array(made["scale"])
    whole = np.nan_to_num(np.clip(z, -made["limit_sd"], made["limit_sd"]), nan=0.0)  # (rows, features)
    groups = [[made["features"].index(name) for name in names] for names in made["indicators"]]
    missing = [np.isnan(frame.x[:, group]).mean(axis=1, keepdims=True) for group in groups]  # (rows, 1) each
    x = np.hstack([whole, *missing]).astype(np.float32)  # (rows, inputs)
    windows = np.stack([x[row - told["window_rows"] + 1 : row + 1] for row in rows])  # (n, L, inputs)
    with torch.no_grad():
        forecast = net.eval()(torch.from_numpy(windows)).numpy()
    return forecast * made["target_sd"] + made["target_mean"]


def volatility_net_again(run_dir: Path, frame: ForecastFrame, rows: np.ndarray) -> np.ndarray:
    import torch
    from safetensors.torch import load_file

    family = importlib.import_module("jobs.families.volatility_net")
    told, made = (json.loads((run_dir / name).read_bytes()) for name in ("model.json", "preproc.json"))
    net = family.QuantileNet(**{key: told[key] for key in inspect.signature(family.QuantileNet).parameters})
    net.load_state_dict(load_file(run_dir / told["weights"]))
    level, inputs = family.inputs_of(frame.price, made["least_variance"])
    z = np.clip((inputs - np.array(made["mean"])) * np.array(made["scale"]), -made["limit_sd"], made["limit_sd"])
    groups = [[made["features"].index(name) for name in names] for names in made["indicators"]]
    missing = [np.isnan(inputs[:, group]).mean(axis=1, keepdims=True) for group in groups]
    x = np.hstack([np.nan_to_num(z), *missing]).astype(np.float32)  # (rows, inputs)
    windows = np.stack([x[row - told["window_rows"] + 1 : row + 1] for row in rows])
    with torch.no_grad():
        log_factor = net.eval()(torch.from_numpy(windows)).numpy()[:, 0]
    return frame.horizon_days * level[rows] * np.exp(log_factor)


ENSEMBLES = {
    "mean_ensemble": "ensembles:Mean",
    "median_ensemble": "ensembles:Median",
    "greedy_ensemble": "ensembles:Greedy",
    "lightgbm_stacker": "stacker:Stacker",
}


def ensemble_again(run_dir: Path, frame: ForecastFrame, rows: np.ndarray) -> np.ndarray:
    import polars as pl

    model = json.loads((run_dir / "model.json").read_bytes())
    module, _, name = ENSEMBLES[model["model"]].partition(":")
    family = getattr(importlib.import_module(f"jobs.families.{module}"), name)()
    members = pl.read_parquet(run_dir / "members.parquet")
    at = np.searchsorted(members["date"].to_numpy().astype("datetime64[D]"), frame.dates[rows])
    f = members.drop("date").to_numpy()[at]
    fit_of = np.searchsorted([fit["fit_row"] for fit in model["fits"]], rows, side="right") - 1
    return np.array([family.combine(model["fits"][n], f[i : i + 1])[0] for i, n in enumerate(fit_of)])


RELOADED: dict[str, Callable[[Path, ForecastFrame, np.ndarray], np.ndarray]] = {
    "lightgbm_dart": lightgbm_again,
    "xgboost_dart": xgboost_again,
    "naive": baseline_again,
    "seasonal_naive": baseline_again,
    "drift": baseline_again,
    **dict.fromkeys(ROLLING, rolling_again),
    **dict.fromkeys(NETS, net_again),
    "quantile_net": volatility_net_again,
    **dict.fromkeys(ENSEMBLES, ensemble_again),
    "regime_lightgbm": classifier_again,
    "regime_mixture": mixture_again,
}
