"""What every forecasting family trains on: one price, its features, and the label h trading days ahead.

Reads the feature cache, builds the label, and refuses data that cannot be forecast; never computes a feature and never
decides which rows train.

Letters, here and in `splits`, `scoring` and the families: t is a row (a trading day), p its price, h the horizon in trading days,
y[t] the label, log p[t+h] - log p[t] unless the data set chose differences (`jobs.data.label`), f[t] the forecast of y[t],
x[t] the features known at the close of day t.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from cbi_queue.artifacts import sha256_of
from cbi_queue.models.kinds import HORIZON_DAYS
from jobs.data.feature_store import cache_files
from jobs.data.label import Label
from jobs.trainer import BrokenSpec

if TYPE_CHECKING:
    from pathlib import Path

    import polars as pl

    from jobs.data.feature_store import CacheFiles

DATE_COLUMN, PRICE_COLUMN = "date", "price"
"""The cache's first two columns, whatever their names in the export; every other column is a feature."""


@dataclass(frozen=True, slots=True)
class ForecastFrame:
    """The rows of one horizon, in time order."""

    dates: np.ndarray
    """(rows,) datetime64[D], strictly increasing."""
    price: np.ndarray
    """(rows,) float64, finite; above zero unless the label is a difference."""
    x: np.ndarray
    """(rows, features) float32; NaN where a feature has not started."""
    y: np.ndarray
    """(rows,) float64, the label; NaN in the last h rows, where it is not known yet."""
    feature_names: tuple[str, ...]
    """Names of the columns of `x`, in their order."""
    horizon_days: int
    """h: trading days ahead, counted by row."""
    source_sha256: str
    """Identifies the export that the features were built from."""
    periods_per_year: float = 252.0
    """Rows of a year, by the spacing of the data: 252 for trading days, 52 for weeks."""
    quarantined: tuple[str, ...] = ()
    """Features that were taken away from the present fit, see `jobs.evaluation.drift`."""
    label: Label = Label.LOG_RETURN
    """What `y` is of the price; a family that turns prices into returns, or forecasts into prices, asks it."""

    @property
    def rows(self) -> int:
        """Number of trading days."""
        return len(self.price)


def load_frame(processed_dir: Path, horizon: str) -> ForecastFrame:
    """Read the feature cache of *horizon* (one of the catalogue's names).

    Raises:
        BrokenSpec: when the cache is missing, damaged, out of order, or holds a price that has no such label.
    """
    files = cache_files(processed_dir, horizon)
    stamps = [path.stat() if path.exists() else None for path in (files.parquet, files.manifest)]
    return _loaded(files, horizon, tuple((s.st_ino, s.st_size, s.st_mtime_ns) if s else None for s in stamps))


@lru_cache(maxsize=1)
def _loaded(files: CacheFiles, horizon: str, _stamps: tuple[tuple[int, int, int] | None, ...]) -> ForecastFrame:
    """Read and check a cache once for all the fits of a walk-forward run; again when a file of it has another stamp."""
    manifest = _checked_manifest(files, horizon)
    table, days = _read_table(files.parquet, horizon), HORIZON_DAYS[horizon]
    frame = frame_of(table, days, str(manifest["source_sha256"]), Label(manifest.get("label", Label.LOG_RETURN)))
    per_year = manifest.get("spacing", {}).get("periods_per_year", frame.periods_per_year)
    return replace(frame, periods_per_year=float(per_year))


def frame_of(
    table: pl.DataFrame, horizon_days: int, source_sha256: str, kind: Label = Label.LOG_RETURN
) -> ForecastFrame:
    """Check a table of date, price and features, and add the label of *kind*.

    Raises:
        BrokenSpec: as `load_frame`.
    """
    names = tuple(name for name in table.columns if name not in (DATE_COLUMN, PRICE_COLUMN))
    dates = table[DATE_COLUMN].to_numpy().astype("datetime64[D]")
    price = table[PRICE_COLUMN].to_numpy().astype(np.float64)
    _check_order(dates)
    _check_price(price, dates, kind)
    x = np.ascontiguousarray(table.select(names).to_numpy(), dtype=np.float32)  # (rows, features)
    return ForecastFrame(
        dates,
        price,
        x,
        kind.of(price, horizon_days),
        feature_names=names,
        horizon_days=horizon_days,
        source_sha256=source_sha256,
        label=kind,
    )


label = Label.LOG_RETURN.of
"""The label where nothing was chosen."""


def _checked_manifest(files: CacheFiles, horizon: str) -> dict[str, Any]:
    """Check that the cache exists and is whole; return its manifest."""
    again = f"`cbi-queue retry` the features job of horizon {horizon}"
    if not files.parquet.is_file() or not files.manifest.is_file():
        absent = files.manifest if files.parquet.is_file() else files.parquet
        msg = f"{absent} is missing: run the features job of horizon {horizon} first, or {again}"
        raise BrokenSpec(msg)
    manifest = files.read_manifest() or {}
    if files.parquet.is_symlink() or manifest.get("output_sha256") != sha256_of(files.parquet):
        msg = f"{files.parquet} is not the file that {files.manifest.name} was written for: {again}"
        raise BrokenSpec(msg)
    return manifest


def _read_table(path: Path, horizon: str) -> pl.DataFrame:
    import polars as pl

    table = pl.read_parquet(path, glob=False)
    if absent := {DATE_COLUMN, PRICE_COLUMN} - set(table.columns):
        msg = f"{path} has no column {', '.join(sorted(absent))}: run the features job of horizon {horizon} again"
        raise BrokenSpec(msg)
    return table


def _check_order(dates: np.ndarray) -> None:
    backwards = np.flatnonzero(~(dates[1:] > dates[:-1]))  # a missing date compares false as well
    if len(backwards):
        at = int(backwards[0])
        msg = f"the features' dates do not rise: {dates[at + 1]} follows {dates[at]} in row {at + 1}"
        raise BrokenSpec(msg)


def _check_price(price: np.ndarray, dates: np.ndarray, kind: Label) -> None:
    unusable = np.flatnonzero(~kind.is_allowed(price))
    if len(unusable):
        at = int(unusable[0])
        words = ("no logarithm", "above 0") if kind.is_relative else ("no value", "finite")
        raise BrokenSpec(
            f"{len(unusable)} prices have {words[0]}, the first is {price[at]} on {dates[at]}: prices must be {words[1]}"
        )
