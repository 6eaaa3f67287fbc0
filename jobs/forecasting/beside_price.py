"""What a trained volatility model or regime classifier says of the newest row, with what its run stored.

Letters as in `jobs.data.series`; L is the newest row that the run itself forecast. It is forecast again each time and
compared with what the run recorded, as a price is (`jobs.forecasting.stored`).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from cbi_queue.models.kinds import REGIMES
from jobs.evaluation.regimes import Rule, changes, persistence, regimes
from jobs.evaluation.volatility import QUANTILES, baselines
from jobs.exporting.checks import LIMIT, LIMIT_ROUNDED
from jobs.exporting.package.forecast import Preprocessing
from jobs.exporting.writing import steps_of
from jobs.forecasting.parts import Asked, classifier, read_run_of
from jobs.forecasting.stored import by_refits, revisions, rows_of, with_features_of
from jobs.results.regime_folder import PROBABILITIES
from jobs.results.run_folder import PREDICTIONS
from jobs.trainer import BrokenSpec

if TYPE_CHECKING:
    from collections.abc import Callable

    from jobs.data.series import ForecastFrame
    from jobs.exporting.finished_run import FinishedRun

GARCH, NET = ("garch", "gjr_garch", "egarch"), "quantile_net"
QUANTILE_NAMES = tuple(f"quantile_{level:.0%}".removesuffix("%") for level in QUANTILES)
STAYING = tuple(f"persistence_{regime}" for regime in REGIMES)


@dataclass(frozen=True, slots=True)
class Beside:
    """What is said of the newest row."""

    values: dict[str, Any]
    """JSON values."""
    last: int
    """L."""
    remarks: tuple[str, ...]
    backtest: dict[str, Any]
    """What the run scored on its backtest block."""


def volatility(asked: Asked, frame: ForecastFrame, *, same_data: bool, known: ForecastFrame | None) -> Beside:
    """Return the volatility of the log return of the next h rows, and of both simple forecasts: annualised, percent.

    Of the net also the `QUANTILES` of that return, `quantile_5` to `quantile_95`.

    Args:
        asked: the run, whose files were compared with their checksums.
        frame: the present rows.
        same_data: whether they come from the snapshot that it was trained on.
        known: the rows that it was trained on, where the feature cache still has them.

    Raises:
        BrokenSpec: as `jobs.forecasting.stored.stored_run`; also where the model is of another package.
    """
    run = read_run_of(asked, lambda _names, _job: frame)  # its inputs are of the price alone
    if run.model not in (*GARCH, NET):
        raise _unknown(run, asked["job"])
    columns = ["predicted_variance", *(QUANTILE_NAMES if run.model == NET else ())]
    last, before, revised = _recorded(run, asked["job"], columns, known)
    rows = np.unique([last, frame.rows - 1])
    again = _by_net(run, rows) if run.model == NET else by_refits(asked, run, rows)[:, None]
    off = max(abs(again[0, 0] / before[0] - 1.0), *np.abs(again[0, 1:] - before[1:]) / math.sqrt(before[0]), 0.0)
    remarks = _compared(run, asked["job"], last, off, revised, same_data=same_data or not revised)
    predicted, *quantiles = map(float, again[-1])
    if not (math.isfinite(predicted) and predicted > 0 and all(map(math.isfinite, quantiles))):
        raise _no_number(asked["job"], frame)
    annual = frame.periods_per_year / frame.horizon_days
    simple = baselines(frame.price, frame.horizon_days)
    told = {"volatility_pct": predicted, **{f"{name}_pct": float(f[-1]) for name, f in simple.items()}}
    values = {name: 100.0 * math.sqrt(value * annual) for name, value in told.items()}
    values |= dict(zip(QUANTILE_NAMES, quantiles, strict=False))
    return Beside(values, last, remarks, run.metrics["volatility"]["backtest"]["model"])


def _by_net(run: FinishedRun, rows: np.ndarray) -> np.ndarray:
    """Return the variance and the quantiles of the log return that the net forecasts from *rows*: (rows, 1 + k)."""
    from jobs.exporting.nets import TorchNet
    from jobs.families.volatility_net import INPUT_NAMES, inputs_of, unscaled

    net = TorchNet(run, "jobs.families.volatility_net:QuantileNet")
    steps = Preprocessing(steps_of(run, net.window_rows), list(INPUT_NAMES))
    level, inputs = inputs_of(run.frame.price, float(run.preproc["least_variance"]))
    back = np.arange(net.window_rows) - net.window_rows + 1
    told = net.run(steps.inputs(inputs[rows[:, None] + back])).reshape(len(rows), -1)
    return unscaled(told, run.frame.horizon_days * level[rows])


def regime(asked: Asked, frame: ForecastFrame, *, same_data: bool, known: ForecastFrame | None) -> Beside:
    """Return the present regime, the probability of each h rows later, and what persistence says of them.

    Args: and Raises: as `volatility`.
    """
    run = read_run_of(asked, lambda names, job: with_features_of(frame, names, job))
    if run.model != "regime_lightgbm":
        raise _unknown(run, asked["job"])
    last, before, revised = _recorded(run, asked["job"], list(PROBABILITIES), known)
    again = classifier(run)(np.unique([last, frame.rows - 1]))
    off = float(np.abs(again[0] - before).max())
    remarks = _compared(run, asked["job"], last, off, revised, same_data=same_data)
    told = again[-1]
    if not np.isfinite(told).all():
        raise _no_number(asked["job"], frame)
    rule = Rule(**run.preproc["rule"])
    present = regimes(changes(frame.price), rule)
    stays = persistence(present, frame.horizon_days)[-1]
    values = {
        "regime": REGIMES[present[-1]] if present[-1] >= 0 else None,
        **{name: float(p) for name, p in zip(PROBABILITIES, told, strict=True)},
        **{name: float(p) for name, p in zip(STAYING, stays, strict=True)},
        **asdict(rule),
    }
    return Beside(values, last, remarks, run.metrics["regimes"]["backtest"]["model"])


def _recorded(
    run: FinishedRun, job: str, columns: list[str], known: ForecastFrame | None
) -> tuple[int, np.ndarray, list[str]]:
    """Return L, what was recorded of it, (columns,), and what was revised, in words."""
    table, frame = pl.read_parquet(run.folder / PREDICTIONS, glob=False), run.frame
    rows = rows_of(table["date"].to_numpy().astype("datetime64[D]"), frame, job)
    before = table.select(columns).tail(1).to_numpy()[0]
    if known is not None:
        return int(rows[-1]), before, revisions(rows_of(known.dates, frame, job), known.price, frame, job)
    prices = table["price"].to_numpy() if "price" in table.columns else frame.price[rows]
    return int(rows[-1]), before, revisions(rows, prices, frame, job)


def _compared(
    run: FinishedRun, job: str, last: int, off: float, revised: list[str], *, same_data: bool
) -> tuple[str, ...]:
    """Return what is to be said, given how far L *off* is what the run recorded.

    Raises:
        BrokenSpec: when it differs on the very data that the run was trained on.
    """
    if off <= (LIMIT if run.is_exact else LIMIT_ROUNDED):
        return tuple(revised)
    if same_data:
        raise BrokenSpec(
            f"the stored model does not forecast {run.frame.dates[last]} as the run did: they differ by {off:.2g}; train "
            f"{job} again (`cbi-queue verify` checks the files of {run.folder.name})"
        )
    more = [] if revised else [f"the features of {run.frame.dates[last]} were revised since the training"]
    return (*revised, *(f"{words}: its forecast of that day differs by {off:.2g}" for words in more))


def _unknown(run: FinishedRun, job: str) -> BrokenSpec:
    return BrokenSpec(
        f"{job} ({run.model}) cannot forecast rows that came after its training; train it again for a newer one"
    )


def _no_number(job: str, frame: ForecastFrame) -> BrokenSpec:
    return BrokenSpec(f"{job} gives no number for {frame.dates[-1]}; `cbi-queue show {job}`")


BESIDE: dict[str, Callable[..., Beside]] = {"volatility": volatility, "regimes": regime}
COLUMNS = {
    "volatility": ("volatility_pct", "ewma_pct", "rolling_pct", *QUANTILE_NAMES),
    "regimes": ("regime", *PROBABILITIES, *STAYING, *(field.name for field in fields(Rule))),
}
"""What of it stands in the table of the day; null where a model does not tell it."""
