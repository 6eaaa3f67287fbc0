"""A trained model on rows that it has not seen: what it forecasts of them, with what the run stored and nothing else.

Letters as in `jobs.data.series`; L is the newest row that the run itself forecast, found by its date. Rows up to L have
the run's own forecasts. Later ones are forecast by the stored model: trees and nets as the run left them; ARIMA, ETS, Theta
and Prophet as along their walk, with the state of every new day and new parameters after `refit_every_rows`; ensembles from
their members' forecasts with their latest weights; mixtures over regimes from their parts. Row L is forecast again each
time, and compared with what the run recorded.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from cbi_queue.models.catalogue import MODELS
from cbi_queue.models.entry import imported
from cbi_queue.models.kinds import BARS, MIXTURE, Family
from jobs.ensembles.members import Members
from jobs.exporting.checks import LIMIT, LIMIT_ROUNDED
from jobs.exporting.finished_run import FinishedRun, label_sd_of, told_by
from jobs.exporting.kinds import EXPORTED, native_model
from jobs.families.baselines import forecast as baseline_forecast
from jobs.forecasting.parts import Asked, by_regimes, by_windows
from jobs.results.run_folder import PREDICTIONS
from jobs.rolling.walk import MODEL_FILE
from jobs.trainer import BrokenSpec

if TYPE_CHECKING:
    from collections.abc import Callable

    from jobs.data.series import ForecastFrame

REVISIONS_TOLD = 3
ROLLING = frozenset({"arima", "auto_arima", "ets", "theta", "prophet"})


@dataclass(frozen=True, slots=True)
class Stored:
    """A run, and what its model forecasts of every row of the present frame."""

    run: FinishedRun
    f: np.ndarray
    """(rows,) float64, f[t]: recorded up to L, forecast now after it; NaN where nothing is forecast."""
    honest: np.ndarray
    """The same without the rows that it was trained on: what tells how far it misses."""
    last: int
    """L."""
    is_live: bool
    """False where the rows after L cannot be forecast: the newest forecast is then the run's own, of row L."""
    remarks: tuple[str, ...]


def stored_run(asked: Asked, frame: ForecastFrame, *, same_data: bool, known: ForecastFrame | None = None) -> Stored:
    """Read a run and forecast the rows of *frame*.

    Args:
        asked: the run, whose files were compared with their checksums.
        frame: the present rows; features that the run does not know are left out.
        same_data: whether they come from the snapshot that it was trained on.
        known: the rows that it was trained on, where the feature cache still has them.

    Raises:
        BrokenSpec: when these are no later rows of the data that it was trained on, or its model does not forecast what
            it did on its own data.
    """
    folder = Path(asked["run_dir"])
    told = told_by(folder)
    if not told["metrics"].get("forecast"):
        raise BrokenSpec(f"the run of {asked['job']} has no forecast of a price")
    frame = with_features_of(frame, told["preproc"].get("features") or (), asked["job"])
    recorded, blocks, revised = _recorded(folder, frame, asked["job"], known)
    last = int(np.flatnonzero(np.isfinite(recorded))[-1])
    run = FinishedRun(
        **told,
        model=told["metrics"]["model"],
        backend=asked["backend"],
        frame=frame,
        recorded=recorded,
        held_out=np.empty(0, dtype=np.int64),
        label_sd=label_sd_of(frame, told["metrics"]),
        interpreter=asked.get("interpreter", ""),
    )
    remarks = list(revised)
    forecast = _forecaster(asked, run, last, same_data=same_data)
    f = recorded.copy()
    if forecast is None:
        if frame.rows - 1 > last:
            remarks.append(
                f"{asked['job']} ({run.model}) cannot forecast rows that came after its training, so this is its forecast "
                f"of {frame.dates[last]}; train it again for a newer one"
            )
    else:
        again = forecast(np.arange(last, frame.rows))
        remarks += _compared(again[0], run, last, same_data=same_data, is_revised=bool(revised))
        f[last + 1 :] = again[1:]
        if not np.isfinite(f[-1]):
            raise BrokenSpec(f"{asked['job']} gives no number for {frame.dates[-1]}; `cbi-queue show {asked['job']}`")
    honest = np.where(blocks == "train", np.nan, f)
    return Stored(run, f, honest, last, forecast is not None, tuple(remarks))


def with_features_of(frame: ForecastFrame, names: list[str] | tuple[str, ...], job: str) -> ForecastFrame:
    """Return *frame* with the features that the run was trained on, in their order."""
    if not names or tuple(names) == frame.feature_names:
        return frame
    place = {name: at for at, name in enumerate(frame.feature_names)}
    if absent := [name for name in names if name not in place]:
        more = f" and {len(absent) - 3} more" if len(absent) > 3 else ""
        raise BrokenSpec(
            f"{job} was trained on {len(names)} features, and the present export gives no {', '.join(absent[:3])}{more}: "
            "bring these columns back, or train it again"
        )
    return replace(
        frame, x=np.ascontiguousarray(frame.x[:, [place[name] for name in names]]), feature_names=tuple(names)
    )


def _recorded(
    folder: Path, frame: ForecastFrame, job: str, known: ForecastFrame | None
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Return f[t] as recorded and the block of each row of *frame*, (rows,) each, and what was revised, in words."""
    table = pl.read_parquet(folder / PREDICTIONS, glob=False)
    days = table["date"].to_numpy().astype("datetime64[D]")
    rows = rows_of(days, frame, job)
    recorded, blocks = np.full(frame.rows, np.nan), np.full(frame.rows, "", dtype="U10")
    recorded[rows], blocks[rows] = table["predicted_return"].to_numpy(), table["block"].to_list()
    if known is not None:  # what it was trained on reaches further back than what it forecast
        return recorded, blocks, revisions(rows_of(known.dates, frame, job), known.price, frame, job)
    return recorded, blocks, revisions(rows, table["price"].to_numpy(), frame, job)


def rows_of(days: np.ndarray, frame: ForecastFrame, job: str) -> np.ndarray:
    """Return the rows of *frame* that have these *days*.

    Raises:
        BrokenSpec: when it lacks one.
    """
    rows = np.searchsorted(frame.dates, days)
    there = rows < frame.rows
    there[there] = frame.dates[rows[there]] == days[there]
    if there.all():
        return rows
    gone = days[~there]
    raise BrokenSpec(
        f"the export lacks {len(gone):,} of the days that {job} was trained on or forecast, the first is {gone[0]}, the "
        f"last {gone[-1]}: it was shortened, or is another series; import the whole series, or train anew on this one"
    )


def revisions(rows: np.ndarray, before: np.ndarray, frame: ForecastFrame, job: str) -> list[str]:
    """Name the prices of *rows* that are no longer what they were *before*."""
    changed = np.flatnonzero(frame.price[rows] != before)
    if not len(changed):
        return []
    newest = changed[-REVISIONS_TOLD:]
    told = ", ".join(f"{frame.dates[rows[at]]} {before[at]:g} -> {frame.price[rows[at]]:g}" for at in newest)
    more = f", and {len(changed) - REVISIONS_TOLD} earlier" if len(changed) > REVISIONS_TOLD else ""
    were = "prices were" if len(changed) > 1 else "price was"
    return [f"{len(changed)} past {were} revised since {job} was trained: {told}{more}"]


def _compared(again: float, run: FinishedRun, last: int, *, same_data: bool, is_revised: bool) -> list[str]:
    """Compare row L, forecast again, with what the run recorded; return what is to be said.

    Raises:
        BrokenSpec: when they differ on the very data that the run was trained on.
    """
    difference = abs(again - float(run.recorded[last])) / run.label_sd
    if difference <= (LIMIT if run.is_exact else LIMIT_ROUNDED):
        return []
    if same_data:
        raise BrokenSpec(
            f"the stored model does not forecast {run.frame.dates[last]} as the run did: they differ by {difference:.2g} "
            f"standard deviations of the label; train it again (`cbi-queue verify` checks the files of {run.folder.name})"
        )
    if is_revised:
        return []
    words = (
        f"the features of {run.frame.dates[last]} were revised since the training: its forecast of that day differs by "
    )
    return [f"{words}{difference:.2g} standard deviations of the label"]


def _forecaster(
    asked: Asked, run: FinishedRun, last: int, *, same_data: bool
) -> Callable[[np.ndarray], np.ndarray] | None:
    """Return what gives f of rows at or after L, (n,) -> (n,); None where the stored model cannot."""
    model = run.model
    if model not in MODELS:
        return None
    factor = float(run.preproc.get("forecast_factor", 1.0))
    if model in BARS:
        f = baseline_forecast(run.description, run.frame.price, run.frame.horizon_days)
        return lambda rows: factor * f[rows] + 0.0
    if model in EXPORTED:
        return by_windows(run, native_model(run))
    if model in ROLLING:
        return lambda rows: factor * by_refits(asked, run, rows) + 0.0
    together = None
    if MODELS[model].family == Family.META:
        together = _ensemble(asked, run, last, same_data=same_data)
    elif model == MIXTURE:
        together = by_regimes(asked.get("members", []), lambda names, job: with_features_of(run.frame, names, job))
    return None if together is None else lambda rows: factor * together(rows) + 0.0


def by_refits(asked: Asked, run: FinishedRun, rows: np.ndarray) -> np.ndarray:
    """Forecast as along the walk: the latest fit before each row, a new one `refit_every_rows` after the one before."""
    trainer: Any = imported(MODELS[run.model].trainers["native"])()
    trainer.params = MODELS[run.model].params.model_validate(asked["params"])
    trainer.frame, trainer.label = run.frame, run.frame.label
    fit = json.loads((run.folder / MODEL_FILE).read_bytes())["fits"][-1]
    f = np.full(len(rows), np.nan)
    start, every = int(fit["fit_row"]), int(trainer.params.refit_every_rows)
    while True:
        mine = (rows >= start) & (rows < start + every)
        if mine.any():
            f[mine] = trainer.forecast_rows(fit, run.frame, rows[mine])
        start += every
        if start > rows[-1]:
            return f
        fit = trainer.fit_before(start)


def _ensemble(
    asked: Asked, run: FinishedRun, last: int, *, same_data: bool
) -> Callable[[np.ndarray], np.ndarray] | None:
    """Combine the members' forecasts with the latest weights; None when a member cannot forecast newer rows."""
    known = {member["job"]: member for member in asked.get("members", ())}
    names = [member["name"] for member in run.metrics.get("members", ())]
    if not names or any(name not in known for name in names):
        return None
    stored = [stored_run(known[name], run.frame, same_data=same_data) for name in names]
    if not all(member.is_live for member in stored) and run.frame.rows - 1 > last:
        return None
    trainer: Any = imported(MODELS[run.model].trainers["native"])()
    trainer.params, trainer._threads = MODELS[run.model].params.model_validate(asked["params"]), 1  # noqa: SLF001
    columns = np.column_stack([member.f for member in stored])
    trainer.members = Members(tuple(names), (), columns, ())
    fit = json.loads((run.folder / MODEL_FILE).read_bytes())["fits"][-1]
    return lambda rows: np.asarray(trainer.forecast_rows(fit, run.frame, rows))
