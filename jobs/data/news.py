"""The as-is columns that headlines give to the features, without a look ahead.

A headline belongs to the first trading day (row) whose close is not before its publication; one that is published a
second after the close belongs to the next row. One text counts once a row. With s a headline's P(positive) -
P(negative):

news_sentiment[t]          mean of s over the headlines of row t; without any, that of the last row that had some, if
                           it is at most `max_age_days` old; else missing
news_count[t]              headlines of row t; 0 only while news_sentiment is known: long silence is no news, or no
                           source
news_sentiment_decayed[t]  sum(w s) / sum(w) over all headlines up to t, w = 2^-(age in days / half_life_days)

A headline that is older than `max_age_days` at the close of its row counts nowhere.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import numpy as np

from cbi_queue.datasets.headlines import COLUMNS, COUNT, DECAYED, SCORES, SENTIMENT
from cbi_queue.wording import counted
from jobs.data.as_of import as_known
from jobs.data.export_file import days_and_price
from jobs.data.headlines import read_headlines, read_scores
from jobs.trainer import BrokenSpec

if TYPE_CHECKING:
    from pathlib import Path

    from cbi_queue.datasets.headlines import Headlines
    from jobs.data.export_file import Export

DAY_US = 86_400_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class News:
    """The headlines of a data set with their scores."""

    published: np.ndarray
    """(n,) int64, microseconds since 1970, rising."""
    text: np.ndarray
    """(n,) int64, the same number for the same text."""
    sentiment: np.ndarray
    """(n,) float32, -1 to 1."""
    chosen: Headlines

    @property
    def sha256(self) -> str:
        """Of the scores, in the order of the headlines."""
        return hashlib.sha256(self.sentiment.tobytes()).hexdigest()


def load_news(exports_dir: Path, processed_dir: Path, chosen: Headlines | None) -> News | None:
    """Return the headlines of a data set with their scores; None when it has no headlines.

    Raises:
        BrokenSpec: when some are not scored by the chosen weights.
    """
    if chosen is None:
        return None
    read = read_headlines(exports_dir, chosen)
    if chosen.model_sha256 is None:
        raise BrokenSpec(
            "the data set has headlines and no model that scores them; `cbi-queue text use FOLDER` chooses one"
        )
    try:
        scores = read_scores(processed_dir / SCORES).get((chosen.model_sha256, chosen.max_length), {})
    except ValueError as exc:
        raise BrokenSpec(f"{exc}; `cbi-queue retry` the finbert job of this data set, then this job") from exc
    keys = read.keys
    absent = sum(key not in scores for key in keys)
    if absent:
        raise BrokenSpec(
            f"{absent:,} of {len(keys):,} headlines have no score yet: let a finbert job of this data set run first "
            "(family: sentiment, model: finbert), and add it to the `needs` of this job"
        )
    pairs = np.array([scores[key] for key in keys], dtype=np.float32).reshape(-1, 2)  # (n, 2)
    numbers: dict[bytes, int] = {}
    text = np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)
    return News(read.published, text, pairs[:, 0] - pairs[:, 1], chosen)


def with_news(export: Export, news: News | None) -> Export:
    """Return *export* with the columns that *news* gives it.

    Raises:
        BrokenSpec: when the export has columns of these names.
    """
    if news is None:
        return export
    if taken := [name for name in COLUMNS if name in export.columns.covariates]:
        raise BrokenSpec(
            f"{export.path} has a column {taken[0]!r}, and the headlines give one of that name; rename it in the "
            "export, or "
            f"leave it out: `cbi-queue data edit columns.{taken[0]}.role=ignore`"
        )
    days, _ = days_and_price(export)
    rows = rows_of(news.published, closes(days, news.chosen))
    columns = daily(news, days)
    known = int(np.isfinite(columns[SENTIMENT]).sum())
    notes = [f"headlines: {len(rows):,}, and a sentiment on {known:,} of {counted(len(days), 'day')}"]
    if late := int((rows == len(days)).sum()):
        notes.append(f"{counted(late, 'headline')} after the last close, not used yet")
    if not known:
        raise BrokenSpec(
            f"none of the {len(rows):,} headlines falls on a day of {export.path.name}: they are from "
            f"{_day(news.published[0])} to {_day(news.published[-1])}; import headlines of these years"
        )
    return replace(export, as_is=(*export.as_is, *COLUMNS), news=columns, notes=(*export.notes, *notes))


def _day(published: int) -> str:
    return str(np.datetime64(int(published), "us").astype("datetime64[D]"))


def closes(days: np.ndarray, chosen: Headlines) -> np.ndarray:
    """Return the close of each day, (rows,) int64 microseconds since 1970; *days*: (rows,) int, days since 1970."""
    at, zone = time.fromisoformat(chosen.close), ZoneInfo(chosen.close_zone)
    first = date(1970, 1, 1).toordinal()
    moments = (datetime.combine(date.fromordinal(first + int(day)), at, zone) for day in days)
    return np.array([round((moment - _EPOCH).total_seconds()) * 1_000_000 for moment in moments], dtype=np.int64)


def rows_of(published: np.ndarray, close: np.ndarray) -> np.ndarray:
    """Return the row that each headline belongs to, (n,) int64; the number of rows for those after the last close."""
    return np.searchsorted(close, published, side="left").astype(np.int64)


def daily(news: News, days: np.ndarray) -> dict[str, np.ndarray]:
    """Return the columns, each (rows,) float64, NaN for none; *days*: (rows,) int64, days since 1970, rising."""
    close = closes(days, news.chosen)
    row = rows_of(news.published, close)
    used = np.flatnonzero(row < len(days))
    used = used[close[row[used]] - news.published[used] <= news.chosen.max_age_days * DAY_US]
    _, first = np.unique(np.stack([row[used], news.text[used]]), axis=1, return_index=True)
    used = np.sort(used[first])
    row, s = row[used], news.sentiment[used].astype(np.float64)
    count = np.bincount(row, minlength=len(days)).astype(np.float64)
    with np.errstate(invalid="ignore"):
        mean = np.bincount(row, s, minlength=len(days)) / count  # NaN without headlines
    sentiment = as_known(days, mean, 0, news.chosen.max_age_days)
    is_known = np.isfinite(sentiment)
    age = (close[row] - news.published[used]) / DAY_US
    decayed = _decayed(row, s, 2.0 ** (-age / news.chosen.half_life_days), close, news.chosen.half_life_days)
    return {
        SENTIMENT: sentiment,
        COUNT: np.where(is_known, count, np.nan),
        DECAYED: np.where(is_known, decayed, np.nan),
    }


def _decayed(
    row: np.ndarray, s: np.ndarray, weight: np.ndarray, close: np.ndarray, half_life_days: float
) -> np.ndarray:
    """Carry both sums from row to row: sum(t) = sum(t-1) 2^-(days between the closes / half life) + those of row t."""
    new_sum = np.bincount(row, weight * s, minlength=len(close))
    new_weight = np.bincount(row, weight, minlength=len(close))
    kept = 2.0 ** (-np.diff(close, prepend=close[:1]) / DAY_US / half_life_days)
    found, total, of = np.full(len(close), np.nan), 0.0, 0.0
    for t in range(len(close)):
        total, of = total * kept[t] + new_sum[t], of * kept[t] + new_weight[t]
        if of > 0:
            found[t] = total / of
    return found
