"""The forecasts of one day: made, compared with what is there, and written, whole or not at all.

Files, in the folder of the data set: `DATE.parquet` (one row a horizon, DATE the newest row of the data), `latest.json` (the
same with what is said of it, drift and monitor), `realised.parquet`. The same forecasts again change nothing. Others of
the same DATE, from other data or another model, take the name, and the former ones stay as `DATE.1.parquet`, and so on.
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from cbi_queue.artifacts import atomic_file, write_json
from cbi_queue.models.kinds import HORIZONS
from cbi_queue.regular_files import LARGE, failure_of, read_whole
from jobs.evaluation.conformal import COVERAGES, half_widths
from jobs.exporting.kinds import NotExportable
from jobs.exporting.package.forecast import BadInput
from jobs.forecasting.live_drift import drift_of
from jobs.forecasting.present import present_frame, refuse_unless_fresh, trained_on
from jobs.forecasting.realised import monitor_of, read_table, realised, write_realised
from jobs.forecasting.stored import stored_run
from jobs.results.run_folder import target_dates
from jobs.trainer import BrokenSpec

if TYPE_CHECKING:
    from jobs.data.series import ForecastFrame
    from jobs.forecasting.stored import Stored

LATEST = "latest.json"
_NOT_IN_THE_TABLE = ("words", "remarks")
Asked = dict[str, Any]


def make(asked: Asked) -> dict[str, Any]:
    """Make the forecasts of every horizon that *asked* names.

    Args:
        asked: "exports_dir", "processed_dir", "today", "made_at", "max_age", "old_data", "models" (as `stored_run` reads
            them, with "horizon", "job_id", "told_apart" and "words"), "folder" (None: nothing is written).

    Returns:
        "forecasts", "refused" ([{"horizon", "why"}]), "monitor" and "drift" by horizon, and, with a folder, "written".
    """
    made: list[dict[str, Any]] = []
    refused: list[dict[str, str]] = []
    frames: dict[str, ForecastFrame] = {}
    found: dict[str, Stored] = {}
    for model in asked["models"]:
        horizon = model["horizon"]
        try:
            frame, snapshot = present_frame(Path(asked["exports_dir"]), Path(asked["processed_dir"]), horizon)
            age = refuse_unless_fresh(
                frame, np.datetime64(asked["today"]), asked["max_age"], allow_old=asked["old_data"]
            )
            known = trained_on(Path(asked["processed_dir"]), horizon, model["snapshot"])
            stored = stored_run(model, frame, same_data=snapshot == model["snapshot"], known=known)
        except (BrokenSpec, NotExportable, BadInput) as exc:
            refused.append({"horizon": horizon, "why": str(exc)})
            continue
        except (OSError, KeyError, ValueError, pl.exceptions.PolarsError) as exc:  # ends no other forecast
            refused.append({"horizon": horizon, "why": f"the run of {model['job']} cannot be read: {failure_of(exc)}"})
            continue
        made.append(_forecast(model, stored, snapshot, age))
        frames[horizon], found[horizon] = frame, stored
    jobs = {model["horizon"]: int(model["job_id"]) for model in asked["models"]}
    folder = Path(asked["folder"]) if asked["folder"] else None
    errors = realised(Path(asked["log_folder"]), frames)
    said = {
        "forecasts": sorted(made, key=lambda each: HORIZONS.index(each["horizon"])),
        "refused": refused,
        "monitor": {h: monitor_of(errors, stored.run, h, jobs[h]) for h, stored in found.items()},
        "drift": {h: drift_of(stored.run, stored.last) for h, stored in found.items()},
    }
    if folder is not None and made:
        said["written"] = _write(folder, asked, said)
        write_realised(folder, errors)
    return said


def _forecast(model: Asked, stored: Stored, snapshot: str, age: str | None) -> dict[str, Any]:
    """Return the forecast of the newest row that *stored* forecasts, as JSON values."""
    frame = stored.run.frame
    row = frame.rows - 1 if stored.is_live else stored.last
    price, f = frame.price[[row]], stored.f[[row]]
    middle = frame.label.price_from(price, f)
    bounds: dict[str, float | None] = {}
    for coverage in COVERAGES:
        percent = f"{coverage:.0%}".removesuffix("%")
        width = half_widths(frame.y, stored.honest, frame.horizon_days, coverage)[[row]]
        bounds[f"lower_{percent}"] = _finite(frame.label.price_from(middle, -width)[0])
        bounds[f"upper_{percent}"] = _finite(frame.label.price_from(middle, width)[0])
    return {
        "horizon": model["horizon"],
        "date": str(frame.dates[row]),
        "target_date": str(target_dates(frame)[row]),
        "price": float(price[0]),
        "predicted_price": _finite(middle[0]),
        **bounds,
        "label": str(frame.label),
        "job": model["job"],
        "job_id": model["job_id"],
        "model": stored.run.model,
        "place": model["place"],
        "of": model["of"],
        "told_apart": model["told_apart"],
        "live": stored.is_live,
        "trained_until": str(frame.dates[stored.last]),
        "data_until": str(frame.dates[-1]),
        "snapshot": snapshot,
        "words": list(model["words"]),
        "remarks": [*([age] if age else []), *stored.remarks],
    }


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _write(folder: Path, asked: Asked, said: dict[str, Any]) -> dict[str, Any]:
    """Write the files of the day, and say what happened to those that were there.

    Raises:
        BrokenSpec: when newer data were forecast before: the export was shortened, or an older one put back.
    """
    day = max(each["data_until"] for each in said["forecasts"])
    before = read_latest(folder)
    if before and str(before.get("day", "")) > day:
        raise BrokenSpec(
            f"the latest forecasts in {folder} are from data that end on {before['day']}, and the present data end on "
            f"{day}: the export was shortened, or an older one put back; bring the newer one, or move {folder / LATEST} away"
        )
    table = pl.DataFrame(
        [{k: v for k, v in each.items() if k not in _NOT_IN_THE_TABLE} for each in said["forecasts"]],
        infer_schema_length=None,
    ).with_columns(pl.col(name).str.to_date() for name in ("date", "target_date", "trained_until", "data_until"))
    path = folder / f"{day}.parquet"
    change, kept = _changed(path, table)
    if kept is not None:
        _keep(path, kept)
    if change != "unchanged":
        with atomic_file(path) as part:
            table.write_parquet(part)
    body = {"version": 1, "day": day, "dataset": asked["dataset"], **said}
    if {k: v for k, v in (before or {}).items() if k != "made_at"} != json.loads(json.dumps(body)):
        write_json(folder / LATEST, {**body, "made_at": asked["made_at"]})
    return {"day": day, "path": str(path), "change": change, "kept": None if kept is None else str(kept)}


def _changed(path: Path, table: pl.DataFrame) -> tuple[str, Path | None]:
    """Return new, unchanged, or what differs from the file that is there; and where that one is to be kept."""
    if not os.path.lexists(path):
        return "new", None
    number = next(n for n in range(1, 100_000) if not os.path.lexists(path.with_suffix(f".{n}.parquet")))
    kept = path.with_suffix(f".{number}.parquet")
    try:
        former = read_table(path)
        if former.equals(table):
            return "unchanged", None
        columns = [name for name in ("job_id", "snapshot") if name in former.columns]
        differs = [n for n in columns if former[n].to_list() != table[n].to_list()]
    except (OSError, pl.exceptions.PolarsError):
        return "the former file could not be read", kept
    words = {"job_id": "another model", "snapshot": "other data"}
    return " and ".join(words[name] for name in differs) or "other figures", kept


def _keep(path: Path, kept: Path) -> None:
    """Give the present file a second name, so that a crash before the new one loses neither; copy where links are not known."""
    try:
        os.link(path, kept, follow_symlinks=False)
    except OSError:
        content = read_whole(path, LARGE)
        with atomic_file(kept) as part:
            part.write_bytes(content)


def read_latest(folder: Path) -> dict[str, Any] | None:
    """Return what `latest.json` holds; None when there is none that can be read."""
    try:
        body = json.loads(read_whole(folder / LATEST, LARGE))
    except (OSError, ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None
