"""A run whose last forecasts are forgotten: what the stored model then says of these rows is known already."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np


def forgetting(run_dir: Path, to: Path, rows: int) -> np.ndarray:
    """Copy *run_dir* to *to* without the forecasts of the last *rows*; return those, f[t] as the run recorded it."""
    shutil.copytree(run_dir, to)
    path = to / "predictions.parquet"
    table = pl.read_parquet(path)
    table.head(-rows).write_parquet(path)
    return table["predicted_return"].tail(rows).to_numpy()
