"""The blocks and fits of planned jobs, with dates: `python -m jobs.split_plan`, JSON on standard input and output.

Runs on the trainers' Python, started by `plan show --splits`, because the command line imports no data library. The
blocks come from the code that splits a run, on the dates of the file that the jobs will read; nothing is trained.
"""

from __future__ import annotations

import errno
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cbi_queue.datasets.description import read_description
from cbi_queue.errors import CbiError
from cbi_queue.models.kinds import HORIZON_DAYS
from cbi_queue.models.parameters.common import EvaluationParams
from cbi_queue.models.parameters.features import FeatureParams
from jobs.data.series import DATE_COLUMN, ForecastFrame, label
from jobs.evaluation.splits import block_dates, split_by
from jobs.evaluation.walk_forward import refits_of
from jobs.trainer import BrokenSpec

if TYPE_CHECKING:
    from jobs.evaluation.splits import Split

Request = dict[str, Any]


def plan_of(request: Request) -> dict[str, Any]:
    """Return the split of jobs that are split alike.

    Args:
        request: {"path", "is_export", "features": parameters of the features job, "horizon", "evaluation": shared
            parameters, "refit_every_rows": [one per way of walking forward]}.

    Returns:
        {"rows", "first", "last", "purge_rows", "embargo_rows", "blocks": [...], "windows": {refit_every_rows: [...]}};
        rows without a label yet are the block "future".

    Raises:
        BrokenSpec: when the file cannot be read, or too few rows remain to train on.
    """
    dates = _dates(Path(request["path"]), request)
    frame = _frame(dates, HORIZON_DAYS[request["horizon"]])
    split = split_by(frame, EvaluationParams.model_validate(request["evaluation"]))
    known = int(np.isfinite(frame.y).sum())
    blocks, end = [], 0
    for name, rows in {**split.blocks(), "future": np.arange(known, frame.rows)}.items():
        blocks.append({"block": name, "gap_rows": int(rows[0]) - end, **block_dates(frame, rows)})
        end = int(rows[-1]) + 1
    return {
        "rows": frame.rows,
        "first": str(dates[0]),
        "last": str(dates[-1]),
        "purge_rows": split.purge_rows,
        "embargo_rows": split.embargo_rows,
        "blocks": blocks,
        "windows": {str(every): _windows(frame, split, every) for every in request["refit_every_rows"]},
    }


def _windows(frame: ForecastFrame, split: Split, refit_every_rows: int) -> list[dict[str, Any]]:
    block_of = {int(row): name for name, rows in split.blocks().items() for row in rows}
    return [
        {
            "fit": refit.number + 1,
            "train": block_dates(frame, refit.split.train),
            "block": block_of.get(int(refit.split.backtest[0]), "future"),
            "forecasts": block_dates(frame, refit.split.backtest),
        }
        for refit in refits_of(frame, split, refit_every_rows)
    ]


def _frame(dates: np.ndarray, horizon_days: int) -> ForecastFrame:
    """Return rows of which only the dates are known: a split depends on no price."""
    price = np.ones(len(dates))
    x = np.empty((len(dates), 0), dtype=np.float32)
    return ForecastFrame(dates, price, x, label(price, horizon_days), (), horizon_days, source_sha256="")


def _dates(path: Path, request: Request) -> np.ndarray:
    """Return the days that the jobs will see: (rows,) datetime64[D]."""
    if request["is_export"]:
        from jobs.data.export_file import days_and_price, open_export

        params = FeatureParams.model_validate(request["features"])
        export = open_export(path, params, lambda: None, read_description(path.parent))
        since, _ = days_and_price(export)
        return since.astype("datetime64[D]")
    import polars as pl

    try:
        table = pl.read_parquet(path, columns=[DATE_COLUMN], glob=False)
    except (OSError, pl.exceptions.PolarsError) as exc:
        raise BrokenSpec(f"{path} cannot be read: build it again with its features job") from exc
    days: np.ndarray = table[DATE_COLUMN].to_numpy().astype("datetime64[D]")
    return days


def main() -> None:
    """Answer the requests on standard input: a list -> a list of what `plan_of` returns, or {"error": words}."""
    said = []
    for request in json.load(sys.stdin):
        try:
            said.append(plan_of(request))
        except BrokenSpec as exc:
            said.append({"error": str(exc)})
        except CbiError as exc:
            said.append({"error": exc.message})
        except OSError as exc:
            said.append({"error": f"{request['path']} cannot be read: {os.strerror(exc.errno or errno.EIO)}"})
    json.dump(said, sys.stdout, allow_nan=False)


if __name__ == "__main__":
    main()
