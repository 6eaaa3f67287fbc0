"""The features: from the rows of an export to the columns of the feature cache.

A feature at row t uses rows up to and including t, never a later one (the first year of a covariate decides whether its
returns are logarithms), and at most `look_back_rows` earlier ones, so a file can be processed in chunks that overlap by
that much. It is null where its window is not full, contains a gap or a level without a logarithm, or has no spread to
divide by; it is never filled, and never NaN or infinite. No file is touched here. NumPy and Arrow do all of it: Polars
would take a third of the memory of a features job.

Letters: t a row (a trading day), x the level of a series, r_t = log x_t - log x_{t-1} its return (x_t - x_{t-1} for
a series that is not positive at its beginning, and for a price whose label is a difference, see `Series.is_log`), w a window of the last w rows, k a lag in rows.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from jobs.data.feature_names import DATE, PRICE, feature_names, look_back_rows
from jobs.data.rolling_moments import rolling_extremes, rolling_moments

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from cbi_queue.models.parameters.features import FeatureParams
    from jobs.data.feature_names import Series
    from jobs.data.rolling_moments import Moments

_TILE_CELLS, _LEAST_TILE_ROWS = 1 << 13, 1024
"""Rows x (returns and levels) worked on at a time: 64 KiB an array, which stays in the processor's cache."""


def engineer(
    days: np.ndarray,
    columns: Mapping[str, np.ndarray],
    series: Sequence[Series],
    params: FeatureParams,
    as_is: Sequence[str] = (),
) -> pa.Table:
    """Compute every feature.

    Args:
        days: (rows,) int, days since 1970, rising.
        columns: name -> (rows,) float64, NaN for none: one per series and as-is column.
        series: what the columns are; the first is the price.
        params: lags and windows.
        as_is: those of *columns* whose value is the feature.

    Returns:
        `date` (date32), `price` (double), then the features (float), as many rows as came in, null for none.
    """
    names, rows = tuple(feature_names(series, params, as_is)), len(days)
    place = {name: at for at, name in enumerate(names)}
    values, back = _returns_and_levels(columns, series), look_back_rows(params)
    made = np.empty((len(names), rows), np.float32)
    there = np.empty((len(names), -(-rows // 8)), np.uint8)  # a bit a value
    step = max(_LEAST_TILE_ROWS, _TILE_CELLS // len(values) // 8 * 8)
    others = dict(_calendar(days)) | {name: columns[name] for name in as_is}
    for first in range(0, rows, step):
        start, tile = max(0, first - back), made[:, first : first + step]
        with np.errstate(all="ignore"):
            for feature, of, found in _features(values[:, start : first + step], series, params):
                tile[[place[f"{s.name}_{feature}"] for s in of]] = found[:, first - start :]
            for name, found in others.items():
                tile[place[name]] = found[first : first + step]
        there[:, first // 8 : (first + step) // 8] = _bits(tile)
    dates = pa.Array.from_buffers(pa.date32(), rows, [None, pa.py_buffer(days.astype(np.int32))])
    prices = _column(columns[PRICE], _bits(columns[PRICE]))
    return pa.table([dates, prices, *map(_column, made, there)], [DATE, PRICE, *names])


def _bits(values: np.ndarray) -> np.ndarray:
    """Return where *values* are finite, a bit each, as Arrow has them: (…, rows) -> (…, rows / 8) uint8."""
    return np.packbits(np.isfinite(values), axis=-1, bitorder="little")


def _column(values: np.ndarray, there: np.ndarray) -> pa.Array:
    """Make a column of *values* without a copy, null where *there* says so; `pa.array` would import pandas."""
    buffers = [pa.py_buffer(there), pa.py_buffer(values)]
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), buffers)


def _calendar(days: np.ndarray) -> tuple[tuple[str, np.ndarray], ...]:
    """Return the month, 1 to 12, and the day of the week, 1 (Monday) to 7."""
    months = days.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)
    return ("month", months % 12 + 1), ("day_of_week", (days + 3) % 7 + 1)  # 1970-01-01 was a Thursday


def _returns_and_levels(columns: Mapping[str, np.ndarray], series: Sequence[Series]) -> np.ndarray:
    """Return the returns of every series, then their levels: (2 x series, rows) float64, gaps as NaN."""
    n = len(series)
    values = np.full((2 * n, len(columns[series[0].name])), np.nan)
    for s, level in zip(series, values[n:], strict=True):
        x = columns[s.name]
        if s.is_log:
            np.log(x, out=level, where=x > 0)  # no logarithm, a gap
        else:
            level[:] = x
    with np.errstate(invalid="ignore"):
        np.subtract(values[n:, 1:], values[n:, :-1], out=values[:n, 1:])
    return values


def _features(
    values: np.ndarray, series: Sequence[Series], params: FeatureParams
) -> Iterator[tuple[str, Sequence[Series], np.ndarray]]:
    """Yield every feature of the series without its series' name, the series that have it, and (those, rows) float64.

    Args:
        values: returns, then levels, see `_returns_and_levels`.
        series: what they are of.
        params: lags and windows.
    """
    returns, windows = values[: len(series)], sorted(set(params.windows))
    for k in {0, *params.lags}:
        yield f"ret_{k}", series, _earlier(returns, k)
    moments = rolling_moments(values, len(series) - 1 if params.interactions else 0, windows)
    for found, (least, most) in zip(moments, rolling_extremes(returns, windows), strict=True):
        yield f"min_{found.n}", series, least
        yield f"max_{found.n}", series, most
        for feature, made in _rolling(values, found):
            yield feature, series, made
        if params.interactions:
            yield from _with_price(series, found)


def _earlier(values: np.ndarray, k: int) -> np.ndarray:
    """Return the values of k rows before."""
    found = np.full_like(values, np.nan)
    found[:, k:] = values[:, : max(0, values.shape[1] - k)]
    return found


def _rolling(values: np.ndarray, found: Moments) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the statistics of the last w rows, apart from the extremes of r.

    mean and std (n - 1) of r; momentum sum(r) / (std(r) sqrt(w)), the window's return in units of its own spread,
    because sum(r) alone is w times the mean; z = (level - mean(level)) / std(level).
    """
    n, w = len(values) // 2, found.n
    std = np.sqrt(found.co[: 2 * n] / (w - 1))
    yield f"mean_{w}", found.mean[:n]
    yield f"std_{w}", std[:n]
    yield f"mom_{w}", found.mean[:n] * math.sqrt(w) / std[:n]
    yield f"z_{w}", (values[n:] - found.mean[n:]) / std[n:]


def _with_price(series: Sequence[Series], found: Moments) -> Iterator[tuple[str, Sequence[Series], np.ndarray]]:
    """Yield how the price (p) moved against each other series (q) over the last w rows.

    corr = C_pq / sqrt(C_pp C_qq); beta = C_pq / C_qq, of the price's return on the other's; spread = the price's log
    return over w rows less the other's, only where both are logarithmic.
    """
    price, *others = series
    n, w = len(series), found.n
    co, own, its = found.co[2 * n :], found.co[0], found.co[1:n]
    yield f"corr_{w}", others, np.clip(co / (np.sqrt(own) * np.sqrt(its)), -1.0, 1.0)
    yield f"beta_{w}", others, co / its
    logs = [i for i, s in enumerate(series) if i and s.is_log and price.is_log]
    yield f"spread_{w}", [series[i] for i in logs], (found.mean[0] - found.mean[logs]) * w
