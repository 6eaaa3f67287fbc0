"""A net that forecasts the variance of the return of the next h days, and quantiles of that return (PyTorch).

Its window holds only what past prices say of the variance: EWMA's level v[t] and its own history beside it (means of r^2
over 5 to 252 days, as in Corsi's HAR model, 2009), and today's return. It corrects EWMA rather than replaces it: with its
first weights it forecasts h v[t] and normal quantiles, and learns a factor for each. Letters as in `jobs.data.series`.

Its loss is QLIKE of the variance, by which volatility is scored, plus the pinball loss of the quantiles, which do not move
the variance. Both labels are in units of EWMA's forecast: R[t] = RV[t] / (h v[t]) and y[t] / sqrt(h v[t]).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, cast

from jobs.torch_backend.run import TorchRun  # before torch, whose memory ceilings it sets

# isort: split
import numpy as np
import torch
from torch import nn

from jobs.data.series import load_frame
from jobs.data.standardise import fit_standardiser
from jobs.evaluation.splits import split_of
from jobs.evaluation.volatility import QUANTILES, ROLLING_ROWS, baselines, realised_variance
from jobs.nets.data import NeuralData, rows_with_window
from jobs.nets.run import NetTrainer
from jobs.results.volatility_folder import record_volatility
from jobs.torch_backend.dense import hidden_layers
from jobs.trainer import BrokenSpec

if TYPE_CHECKING:
    from cbi_queue.models.parameters.volatility import QuantileNetParams
    from jobs.trainer import Task

HISTORIES = (5, 21, 63, 252)
"""Trading days of the means beside EWMA."""
INPUT_NAMES = ("log_ewma", *(f"log_mean_{days}" for days in HISTORIES), "shock")
LEAST_SHARE = 1e-3
"""EWMA's level and the means are at least this share of the training rows' mean r^2: a price that stands still for
weeks would divide by next to nothing."""
FIRST_ROW = ROLLING_ROWS + 1
"""The first row with a level."""


@dataclass(frozen=True, slots=True)
class VolatilityData(NeuralData):
    """The rows of one job: `x` are `INPUT_NAMES`, `y` is R[t] and y[t] / sqrt(h v[t])."""

    level: np.ndarray = field(kw_only=True)
    """(rows,) float64, v[t], the variance of a day; NaN before `FIRST_ROW`."""
    least: float = field(kw_only=True)
    """Floor of the level."""

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of what the window holds."""
        return INPUT_NAMES

    def unscaled(self, forecast: np.ndarray) -> np.ndarray:
        """Return variance and quantiles of the log return from the net's outputs: (n, 1 + k) float64."""
        return unscaled(forecast, self.frame.horizon_days * self.level[self.forecast_rows])

    def preproc(self) -> dict[str, Any]:
        """Return what it takes to prepare new prices in the same way, as JSON values."""
        return {
            **self.standardiser.as_json(self.input_names),
            "inputs": "of the log price, as in jobs.families.volatility_net",
            "least_variance": self.least,
            "quantiles": list(QUANTILES),
        }


def load_volatility_data(task: Task) -> VolatilityData:
    """Load the price of the job's feature cache, split it, and prepare what past returns say of the variance.

    Raises:
        BrokenSpec: when the cache cannot be used, too few training rows have a full window, or the price does not move.
    """
    params = cast("QuantileNetParams", task.spec.typed_params)
    frame = load_frame(task.processed_dir, task.spec.horizon)
    split = split_of(task, frame)
    train = rows_with_window(split.train, params.sequence_length, FIRST_ROW)
    least = LEAST_SHARE * float(np.mean(np.diff(np.log(frame.price[: split.train[-1] + 1])) ** 2))
    if not least > 0:
        raise BrokenSpec(
            f"a volatility model cannot be fitted on the {len(split.train)} training prices: column 'price' does not move "
            "there; look at the export's price, or choose fewer validation_rows and backtest_rows"
        )
    level, inputs = inputs_of(frame.price, least)
    expected = frame.horizon_days * level
    labels = np.column_stack(
        [realised_variance(frame.price, frame.horizon_days) / expected, frame.y / np.sqrt(expected)]
    )
    standardiser = fit_standardiser(inputs[train], labels[train, 1])
    return VolatilityData(
        frame,
        split,
        standardiser,
        x=standardiser.features(inputs),
        y=labels.astype(np.float32),  # (rows, 2)
        sequence_length=params.sequence_length,
        train=train,
        forecast_rows=split.backtest if task.refit else np.arange(FIRST_ROW + params.sequence_length - 1, frame.rows),
        level=level,
        least=least,
    )


def inputs_of(price: np.ndarray, least: float) -> tuple[np.ndarray, np.ndarray]:
    """Return v[t], (rows,), and the inputs of each row, (rows, len(INPUT_NAMES)); NaN where too few days came before.

    log_ewma: log v[t].  log_mean_d: log(mean of the last d r^2 / v[t]).  shock: r[t] / sqrt(v[t-1]).
    """
    returns = np.diff(np.log(price))
    level = np.maximum(baselines(price, 1)["ewma"], least)
    total = np.concatenate([[0.0], np.cumsum(returns**2)])  # total[t]: of the returns up to row t
    columns = [np.log(level)]
    for days in HISTORIES:
        mean = np.full(len(price), np.nan)
        mean[days:] = (total[days:] - total[:-days]) / days
        columns.append(np.log(np.maximum(mean, least) / level))
    columns.append(np.concatenate([[np.nan], returns / np.sqrt(level[:-1])]))
    return level, np.column_stack(columns)


def unscaled(forecast: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Return variance and quantiles of the log return: (n, 1 + k) float64.

    *forecast*: (n, 1 + k), the net's outputs; *expected*: (n,), EWMA's variance of h days.
    """
    log_factor, quantiles = np.split(forecast.astype(np.float64), [1], axis=1)
    return np.hstack([expected[:, None] * np.exp(log_factor), np.sqrt(expected[:, None]) * quantiles])


class QuantileNet(nn.Module):
    """(n, L, F) windows -> (n, 1 + k): log of the factor to EWMA's variance, then rising quantiles in its units."""

    def __init__(self, inputs: int, window_rows: int, hidden: list[int], dropout: float) -> None:
        """Pass windows of *window_rows* rows and *inputs* columns through layers of *hidden* units."""
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), *hidden_layers(window_rows * inputs, hidden, dropout))
        self.head = nn.Linear(hidden[-1], 1 + len(QUANTILES))
        nn.init.zeros_(self.head.weight)
        self.head.bias.data = torch.tensor(_first_bias())

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """Forecast each window."""
        factor, lowest, steps = self.head(self.layers(windows)).split([1, 1, len(QUANTILES) - 1], dim=-1)
        rising = torch.cat([lowest, nn.functional.softplus(steps)], dim=-1).cumsum(dim=-1)  # (n, k)
        return torch.cat([factor, torch.exp(factor.detach() / 2) * rising], dim=-1)


def _first_bias() -> list[float]:
    """Return the bias that makes a factor of 1 and the quantiles of a normal distribution."""
    normal = [NormalDist().inv_cdf(level) for level in QUANTILES]
    return [0.0, normal[0], *(math.log(math.expm1(step)) for step in np.diff(normal))]


def volatility_loss(predicted: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return R exp(-g) + g, QLIKE up to a constant, plus the mean pinball loss: (n, 1 + k), (n, 2) -> (n,)."""
    error = target[:, 1:] - predicted[:, 1:]  # (n, k)
    levels = torch.tensor(QUANTILES, dtype=error.dtype, device=error.device)
    pinball = torch.maximum(levels * error, (levels - 1.0) * error).mean(dim=-1)
    return target[:, 0] * torch.exp(-predicted[:, 0]) + predicted[:, 0] + pinball


class QuantileRun(TorchRun):
    """A run of the net, scored as a volatility model."""

    loss = staticmethod(volatility_loss)
    record = staticmethod(record_volatility)

    def _data_of(self, task: Task) -> VolatilityData:
        return load_volatility_data(task)


class QuantileVolatility(NetTrainer):
    """Trains the net of one job."""

    record = staticmethod(record_volatility)

    def run_of(self, task: Task) -> TorchRun:
        """Load the data, build the net, restore a checkpoint if there is one."""
        params = cast("QuantileNetParams", task.spec.typed_params)
        shape = {"window_rows": params.sequence_length, "hidden": list(params.hidden), "dropout": params.dropout}
        return QuantileRun(task, QuantileNet, shape)
