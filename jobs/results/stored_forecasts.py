"""The forecasts that runs left, read again and believed only with their checksum.

The final block stays closed: its rows are left out, here and so in everything that is built on this.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from cbi_queue.regular_files import plain_words, read_whole

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MOST_BYTES = 256 << 20
"""Bytes of one file of forecasts; a year of them takes 20 kB."""
COLUMNS: dict[str, pl.DataType] = {
    "date": pl.Date(),
    "target_date": pl.Date(),
    "block": pl.String(),
    "price": pl.Float64(),
    "predicted_return": pl.Float64(),
    "predicted_price": pl.Float64(),
    "actual_price": pl.Float64(),
    **{f"{end}_{percent}": pl.Float64() for percent in ("80", "95") for end in ("lower", "upper")},
    "predicted_variance": pl.Float64(),
    "realised_variance": pl.Float64(),
    "regime": pl.String(),
    "actual_regime": pl.String(),
}
"""Columns that are read; a kind of model without one has null there."""


class Unreadable(Exception):
    """The forecasts of a run cannot be used, and why."""


def read_forecasts(path: Path, sha256: str) -> pl.DataFrame:
    """Return the forecasts at *path* in the columns of `COLUMNS`, without the final block.

    Raises:
        Unreadable: when it is not the file that the run wrote.
    """
    try:
        content = read_whole(path, MOST_BYTES)
    except OSError as exc:
        raise Unreadable(plain_words(exc)) from exc
    if hashlib.sha256(content).hexdigest() != sha256:
        raise Unreadable(f"{path.name} differs from its checksum")
    try:
        table = pl.read_parquet(io.BytesIO(content))
        columns = [
            (pl.col(name) if name in table.columns else pl.lit(None)).cast(kind).alias(name)
            for name, kind in COLUMNS.items()
        ]
        return table.select(columns).filter(pl.col("block").fill_null("") != "final")
    except (pl.exceptions.PolarsError, OSError) as exc:
        raise Unreadable(f"{path.name} is not in the form of forecasts") from exc


def all_forecasts(
    files: Iterable[Mapping[str, Any]], about: Mapping[int, Mapping[str, Any]]
) -> tuple[pl.DataFrame, dict[int, str]]:
    """Return the forecasts of many runs in one table, and job number -> why a run's were left out.

    Args:
        files: {"job_id", "path", "sha256"} each.
        about: job number -> columns that every row of the run gets, the same names for all.
    """
    tables, faults = [], {}
    names = list(next(iter(about.values()), {}))
    kinds = {name: pl.Boolean() if name == "ranked" else pl.String() for name in names}
    for file in files:
        try:
            table = read_forecasts(Path(file["path"]), file["sha256"])
        except Unreadable as exc:
            faults[int(file["job_id"])] = str(exc)
            continue
        run = about[file["job_id"]]
        constants = [pl.lit(run[name], dtype=kind).alias(name) for name, kind in kinds.items()]
        tables.append(table.select(*constants, pl.lit(file["job_id"], dtype=pl.Int64).alias("job_id"), pl.all()))
    empty = pl.DataFrame(schema={**kinds, "job_id": pl.Int64(), **COLUMNS})
    return pl.concat([empty, *tables]), faults
