"""A run whose last forecasts are forgotten: what the stored model then says of these rows is known already."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np


def forgetting(
    run_dir: Path, to: Path, rows: int, last: float | None = None, column: str = "predicted_return"
) -> np.ndarray:
    """Copy *run_dir* to *to* without the forecasts of the last *rows*; return those, *column* as the run recorded it.

    With *last* the newest forecast that is kept is that one, and none is shrunk.
    """
    shutil.copytree(run_dir, to)
    path = to / "predictions.parquet"
    table = pl.read_parquet(path)
    kept = table.head(-rows)
    if last is not None:
        is_last = pl.int_range(pl.len()) == kept.height - 1
        kept = kept.with_columns(predicted_return=pl.when(is_last).then(last).otherwise("predicted_return"))
        preproc = json.loads((to / "preproc.json").read_text())
        (to / "preproc.json").write_text(json.dumps({**preproc, "forecast_factor": 1.0}))
    kept.write_parquet(path)
    return table[column].tail(rows).to_numpy()
