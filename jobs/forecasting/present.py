"""The newest rows of a data set as the models of a horizon know them: features of the present export, built in memory.

The feature cache is left alone: jobs that wait in the queue are to be trained on what it holds. Where the export is still
the one that the cache was built from, the cache is read; else the features are made with the cache's own parameters, which
gives the same bits for the same rows.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pyarrow as pa

from cbi_queue.artifacts import sha256_of
from cbi_queue.datasets.snapshots import built_from, snapshot_of
from cbi_queue.models.kinds import HORIZON_DAYS
from cbi_queue.models.parameters.features import FeatureParams
from jobs.data.export_file import find_export, open_export
from jobs.data.feature_build import description_of, engineered, rows_a_chunk
from jobs.data.feature_names import feature_names
from jobs.data.feature_store import cache_files
from jobs.data.news import load_news, with_news
from jobs.data.series import frame_of, load_frame
from jobs.data.spacing import DAYS_OF_YEAR, TRADING_DAYS
from jobs.trainer import BrokenSpec

if TYPE_CHECKING:
    from pathlib import Path

    from jobs.data.series import ForecastFrame


def present_frame(exports_dir: Path, processed_dir: Path, horizon: str) -> tuple[ForecastFrame, str]:
    """Return the rows of the present export, and its snapshot.

    Raises:
        BrokenSpec: when the export cannot be used, or it is not known how its features are made.
        OSError: when its folder is not there.
    """
    path, chosen = find_export(exports_dir, horizon), description_of(exports_dir)
    source = sha256_of(path, follow=True)
    snapshot = snapshot_of(source, chosen)
    manifest = cache_files(processed_dir, horizon).read_manifest()
    if manifest is None:
        raise BrokenSpec(
            f"there are no features of {horizon} in {processed_dir}, so it is not known how its models' features are "
            "made; let its features job run again"
        )
    news = load_news(exports_dir, processed_dir, chosen.headlines)
    scores = news.sha256 if news else None
    if manifest.get("snapshot") == snapshot and manifest.get("headline_scores") == scores:
        return load_frame(processed_dir, horizon), snapshot
    params = FeatureParams.model_validate(manifest["params"])
    export = with_news(open_export(path, params, lambda: None, chosen), news)
    features = len(feature_names(export.series, params, export.as_is))
    parts = engineered(export, params, rows_a_chunk(features))
    table = pl.DataFrame(pl.from_arrow(pa.concat_tables(parts)))
    frame = frame_of(table, HORIZON_DAYS[horizon], source, export.label)
    return replace(frame, periods_per_year=export.spacing.periods_per_year), snapshot


def trained_on(processed_dir: Path, horizon: str, snapshot: str | None) -> ForecastFrame | None:
    """Return the rows of *snapshot*, if the feature cache still has them."""
    if snapshot is None or built_from(processed_dir, horizon) != snapshot:
        return None
    try:
        return load_frame(processed_dir, horizon)
    except BrokenSpec:
        return None


def refuse_unless_fresh(frame: ForecastFrame, today: np.datetime64, most_days: int, *, allow_old: bool) -> str | None:
    """Return what is to be said of the age of the newest row; None for a fresh one.

    The age is counted in trading days, or, where rows are further apart, in rows that are missing by now.

    Args:
        frame: the rows.
        today: by this machine's clock.
        most_days: age up to which a row is fresh.
        allow_old: old data are said, not refused.

    Raises:
        BrokenSpec: when the newest row is too old, or of a day to come.
    """
    newest = frame.dates[-1]
    if newest > today + np.timedelta64(1, "D"):  # a day ahead may be another time zone's
        raise BrokenSpec(
            f"the newest row is of {newest}, and this machine's clock says {today}: set the clock, or take rows of days "
            "to come out of the export"
        )
    if frame.periods_per_year == TRADING_DAYS:
        age, of = int(np.busday_count(newest, today)), "trading days"
    else:
        age, of = int((today - newest).astype(int) * frame.periods_per_year / DAYS_OF_YEAR), "rows"
    if age <= most_days:
        return None
    words = f"the data end on {newest}, {age:,} {of} before {today}"
    if allow_old:
        return f"{words}: these are forecasts of that day, not of today"
    raise BrokenSpec(
        f"{words}, and at most {most_days} are allowed (setting forecast_max_age): bring a newer export (`cbi-queue data "
        "import FILE`), or ask for the forecast of that day with --old-data"
    )
