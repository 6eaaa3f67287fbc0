"""The forecasts of one day: made, compared with what is there, and written, whole or not at all.

Files, in the folder of the data set: `DATE.parquet` (one row a horizon, price, volatility and regimes, DATE the newest row of the data), `latest.json` (the
same with what is said of it, drift and monitor), `realised.parquet` and those beside it. The same forecasts again change nothing. Others of
the same DATE, from other data or another model, take the name, and the former ones stay as `DATE.1.parquet`, and so on.
"""

from __future__ import annotations

import json
import math
import os
from functools import cache
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
from jobs.forecasting.beside_price import BESIDE, COLUMNS
from jobs.forecasting.live_drift import drift_of
from jobs.forecasting.present import present_frame, refuse_unless_fresh, trained_on
from jobs.forecasting.realised import monitor_of, read_table, realised, told_by_day, write_realised
from jobs.forecasting.realised_beside import FILES, MONITORS, REALISED_BESIDE
from jobs.forecasting.stored import stored_run
from jobs.results.run_folder import target_dates
from jobs.trainer import BrokenSpec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jobs.data.series import ForecastFrame
    from jobs.forecasting.beside_price import Beside
    from jobs.forecasting.stored import Stored

LATEST = "latest.json"
_NOT_IN_THE_TABLE = ("words", "remarks")
_DATES = ("date", "target_date", "trained_until", "data_until")
_OF_EVERY_ROW = ("horizon", "date", "target_date", "price", "data_until", "snapshot")
_ANOTHER_MODEL = dict.fromkeys(("job_id", *(f"{kind}_job_id" for kind in BESIDE)), "another model")
_CHANGES = {**_ANOTHER_MODEL, "snapshot": "other data"}
"""Column -> what it means that it differs from that of the former file."""
Asked = dict[str, Any]


def make(asked: Asked) -> dict[str, Any]:
    """Make the forecasts of every horizon that *asked* names.

    Args:
        asked: "exports_dir", "processed_dir", "today", "made_at", "max_age", "old_data", "models" (as `stored_run` reads
            them, with "horizon", "job_id", "told_apart" and "words"; "what" of those beside the price), "folder" (None: nothing is written).

    Returns:
        "forecasts" of the price, "volatility", "regimes", "refused" ([{"horizon", "why"}], with "what" if not the price),
        "monitor" and "drift" by horizon, and, with a folder, "written".
    """
    told: dict[str, list[dict[str, Any]]] = {kind: [] for kind in ("forecasts", *BESIDE)}
    refused: list[dict[str, str]] = []
    frames: dict[str, ForecastFrame] = {}
    found: dict[str, Stored] = {}
    besides: dict[tuple[str, str], Beside] = {}
    processed = Path(asked["processed_dir"])
    present = cache(lambda horizon: present_frame(Path(asked["exports_dir"]), processed, horizon))
    known_of = cache(lambda horizon, snapshot: trained_on(processed, horizon, snapshot))
    for model in asked["models"]:
        horizon, what = model["horizon"], model.get("what")
        where = {"horizon": horizon, **({"what": what} if what else {})}
        try:
            frame, snapshot = present(horizon)
            age = refuse_unless_fresh(
                frame, np.datetime64(asked["today"]), asked["max_age"], allow_old=asked["old_data"]
            )
            frames[horizon] = frame  # what came of its earlier forecasts is told also where none is made today
            known, is_same = known_of(horizon, model["snapshot"]), snapshot == model["snapshot"]
            if what:
                beside = BESIDE[what](model, frame, same_data=is_same, known=known)
                told[what].append(_beside(model, beside, frame, snapshot, age))
                besides[what, horizon] = beside
                continue
            stored = stored_run(model, frame, same_data=is_same, known=known)
        except (BrokenSpec, NotExportable, BadInput) as exc:
            refused.append({**where, "why": str(exc)})
            continue
        except (OSError, KeyError, ValueError, pl.exceptions.PolarsError) as exc:  # ends no other forecast
            refused.append({**where, "why": f"the run of {model['job']} cannot be read: {failure_of(exc)}"})
            continue
        told["forecasts"].append(_forecast(model, stored, snapshot, age))
        found[horizon] = stored
    jobs = {each["horizon"]: int(each["job_id"]) for each in told["forecasts"]}
    folder = Path(asked["folder"]) if asked["folder"] else None
    days = told_by_day(Path(asked["log_folder"]))
    errors = realised(days, frames)
    beside_errors = {kind: rows_of(days, frames) for kind, rows_of in REALISED_BESIDE.items()}
    for (kind, h), beside in besides.items():
        each = next(each for each in told[kind] if each["horizon"] == h)
        each["monitor"] = MONITORS[kind](beside_errors[kind], frames[h], each, beside.backtest)
    all_said: dict[str, Any] = {
        **{kind: sorted(made, key=lambda each: HORIZONS.index(each["horizon"])) for kind, made in told.items()},
        "refused": refused,
        "monitor": {h: monitor_of(errors, stored.run, h, jobs[h]) for h, stored in found.items()},
        "drift": {h: drift_of(stored.run, stored.last) for h, stored in found.items()},
    }
    if folder is not None and any(told.values()):
        all_said["written"] = _write(folder, asked, all_said)
        write_realised(folder, errors)
        for kind, rows in beside_errors.items():
            write_realised(folder, rows, FILES[kind])
    return all_said


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
        **_where(model, frame, row),
        "predicted_price": _finite(middle[0]),
        **bounds,
        "label": str(frame.label),
        **_whose(model, frame, stored.last, snapshot, is_live=stored.is_live),
        "remarks": [*([age] if age else []), *stored.remarks],
    }


def _beside(model: Asked, beside: Beside, frame: ForecastFrame, snapshot: str, age: str | None) -> dict[str, Any]:
    """Return what *model* says beside the price, as JSON values."""
    return {
        **_where(model, frame, frame.rows - 1),
        **beside.values,
        **_whose(model, frame, beside.last, snapshot, is_live=True),
        "remarks": [*([age] if age else []), *beside.remarks],
    }


def _where(model: Asked, frame: ForecastFrame, row: int) -> dict[str, Any]:
    return {
        "horizon": model["horizon"],
        "date": str(frame.dates[row]),
        "target_date": str(target_dates(frame)[row]),
        "price": float(frame.price[row]),
    }


def _whose(model: Asked, frame: ForecastFrame, last: int, snapshot: str, *, is_live: bool) -> dict[str, Any]:
    return {
        **{name: model[name] for name in ("job", "job_id", "model", "place", "of", "told_apart")},
        "live": is_live,
        "trained_until": str(frame.dates[last]),
        "data_until": str(frame.dates[-1]),
        "snapshot": snapshot,
        "words": list(model["words"]),
    }


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _write(folder: Path, asked: Asked, said: dict[str, Any]) -> dict[str, Any]:
    """Write the files of the day, and say what happened to those that were there.

    Raises:
        BrokenSpec: when newer data were forecast before: the export was shortened, or an older one put back.
    """
    rows = _rows(said)
    day = max(each["data_until"] for each in rows)
    before = read_latest(folder)
    if before and str(before.get("day", "")) > day:
        raise BrokenSpec(
            f"the latest forecasts in {folder} are from data that end on {before['day']}, and the present data end on "
            f"{day}: the export was shortened, or an older one put back; bring the newer one, or move {folder / LATEST} away"
        )
    table = pl.DataFrame(rows, infer_schema_length=None)
    table = table.with_columns(pl.col(name).str.to_date() for name in _DATES if name in table.columns)
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


def _rows(said: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a row for each horizon: the price, then the volatility and the regimes of its newest day."""
    rows = {h: {k: v for k, v in each.items() if k not in _NOT_IN_THE_TABLE} for h, each in _by(said["forecasts"])}
    for kind, columns in COLUMNS.items():
        for h, each in _by(said[kind]):
            row = rows.setdefault(h, {name: each[name] for name in _OF_EVERY_ROW})
            row.update({name: each.get(name) for name in columns})
            row.update({f"{kind}_{name}": each[name] for name in ("job", "job_id", "model")})
    return [rows[horizon] for horizon in HORIZONS if horizon in rows]


def _by(told: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    return ((each["horizon"], each) for each in told)


def _changed(path: Path, table: pl.DataFrame) -> tuple[str, Path | None]:
    """Return new, unchanged, or what differs from the file that is there; and where that one is to be kept."""
    if not os.path.lexists(path):
        return "new", None
    number = next(n for n in range(1, 100_000) if not os.path.lexists(path.with_suffix(f".{n}.parquet")))
    kept, last = (path.with_suffix(f".{each}.parquet") for each in (number, number - 1))
    if number > 1 and os.path.samestat(path.lstat(), last.lstat()):
        kept = last  # it was kept, and the process killed before the new one came
    try:
        former = read_table(path)
        if former.equals(table):
            return "unchanged", None
        differs = [words for name, words in _CHANGES.items() if _column(former, name) != _column(table, name)]
    except (OSError, pl.exceptions.PolarsError):
        return "the former file could not be read", kept
    return " and ".join(dict.fromkeys(differs)) or "other figures", kept


def _column(table: pl.DataFrame, name: str) -> list[Any] | None:
    return table[name].to_list() if name in table.columns else None


def _keep(path: Path, kept: Path) -> None:
    """Give the present file a second name, so that a crash before the new one loses neither; copy where links are not known."""
    try:
        os.link(path, kept, follow_symlinks=False)
    except FileExistsError:
        return
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
