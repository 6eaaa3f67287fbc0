"""A finished run as its folder tells it, and the rows that it forecast."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from jobs.data.series import load_frame
from jobs.exporting.kinds import NotExportable, row_of
from jobs.results.run_folder import METRICS, PREDICTIONS, PREPROC, TRAINING_HASH
from jobs.trainer import BrokenSpec

if TYPE_CHECKING:
    from pathlib import Path

    from jobs.data.series import ForecastFrame

MOST_HELD_OUT = 512
"""Held-out rows that are forecast again, the newest ones; more would only take longer."""


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """What is exported."""

    folder: Path
    model: str
    backend: str
    metrics: dict[str, Any]
    preproc: dict[str, Any]
    training_hash: str
    frame: ForecastFrame
    recorded: np.ndarray
    """(rows,) float64: f[t] as the run recorded it; NaN where it forecast nothing."""
    held_out: np.ndarray
    """(n,) int64: rows after the training block that the exported model forecast, the newest last."""
    label_sd: float
    """Standard deviation of the label in the training block: the unit of every difference here."""
    interpreter: str = ""
    """Python that has the library of its backend."""

    @property
    def is_exact(self) -> bool:
        """False where it was trained and forecast in half precision or on a GPU, and so rounded in another way."""
        told = self.description
        return (told.get("precision", "float32"), told.get("device", "cpu")) == ("float32", "cpu")

    @property
    def description(self) -> dict[str, Any]:
        """Return model.json of a net or a baseline; empty for a model without one."""
        path = self.folder / "model.json"
        return dict(json.loads(path.read_bytes())) if path.is_file() else {}


def read_run(folder: Path, processed_dir: Path, backend: str, interpreter: str = "") -> FinishedRun:
    """Read the run in *folder*, whose files were compared with its manifest, and the features it was trained on.

    Raises:
        NotExportable: when nothing exports its model, it forecast no price, or the features are no longer there.
    """
    told = told_by(folder)
    metrics, model = told["metrics"], told["metrics"]["model"]
    row_of(model, backend)  # before anything is read that takes time
    if not metrics.get("forecast"):
        raise NotExportable(f"{model} is not exportable: this run has no forecast of a price")
    try:
        frame = load_frame(processed_dir, metrics["horizon"])
    except BrokenSpec as exc:
        raise NotExportable(
            f"the export is checked on the features of {metrics['horizon']}, and they cannot be used: {exc}"
        ) from exc
    names = told["preproc"].get("features")
    if names and list(names) != list(frame.feature_names):  # baselines use none
        raise _other_data(folder, processed_dir, "they have other columns")
    recorded, blocks = _predictions(folder, frame, processed_dir)
    held_out = np.flatnonzero(np.isfinite(recorded) & np.isin(blocks, ["backtest", "final", "future"]))
    last = int(np.flatnonzero(np.isfinite(recorded))[-1])
    if metrics.get("scheme") == "walk_forward":  # earlier rows were forecast by fits that are not kept
        held_out = held_out[held_out == last]
    return FinishedRun(
        **told,
        model=model,
        backend=backend,
        frame=frame,
        recorded=recorded,
        held_out=held_out[-MOST_HELD_OUT:],
        label_sd=label_sd_of(frame, metrics),
        interpreter=interpreter,
    )


def told_by(folder: Path) -> dict[str, Any]:
    """Return what the files of the run in *folder* tell of it: folder, metrics, preproc and training_hash."""
    metrics, preproc = (json.loads((folder / name).read_bytes()) for name in (METRICS, PREPROC))
    training_hash = (folder / TRAINING_HASH).read_text(encoding="utf-8")
    return {"folder": folder, "metrics": metrics, "preproc": preproc, "training_hash": training_hash}


def label_sd_of(frame: ForecastFrame, metrics: dict[str, Any]) -> float:
    """Return the standard deviation of the label in the training block of the run with *metrics*; 1 where it has none."""
    first, until = (np.datetime64(metrics["split"]["blocks"]["train"][end]) for end in ("first", "last"))
    label = frame.y[(frame.dates >= first) & (frame.dates <= until)]
    sd = float(np.nanstd(label)) if np.isfinite(label).any() else 0.0
    return sd if sd > 0 else 1.0


def _predictions(folder: Path, frame: ForecastFrame, processed_dir: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return f[t] as recorded and the block of each row of *frame*, (rows,) each."""
    import polars as pl

    table = pl.read_parquet(folder / PREDICTIONS, glob=False)
    days = table["date"].to_numpy().astype("datetime64[D]")
    rows = np.searchsorted(frame.dates, days)
    there = rows < frame.rows
    if not there.all() or not (frame.dates[rows[there]] == days[there]).all():
        raise _other_data(folder, processed_dir, "they lack days that the run forecast")
    if not np.array_equal(frame.price[rows], table["price"].to_numpy()):
        raise _other_data(folder, processed_dir, "prices changed since")
    recorded, blocks = np.full(frame.rows, np.nan), np.full(frame.rows, "", dtype="U10")
    recorded[rows], blocks[rows] = table["predicted_return"].to_numpy(), table["block"].to_list()
    return recorded, blocks


def _other_data(folder: Path, processed_dir: Path, what: str) -> NotExportable:
    return NotExportable(
        f"the features in {processed_dir} are not those that the run in {folder} was trained on: {what}; train it again "
        "on the present data (`cbi-queue refresh`), or bring its data back"
    )
