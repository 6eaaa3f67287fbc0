"""The features: from the rows of an export to the columns of the feature cache.

A feature at row t uses rows up to and including t, never a later one (the first year of a covariate decides whether its
returns are logarithms), and at most `look_back_rows` earlier ones, so a file can be processed in chunks that overlap by
that much. It is null where its window is not full, contains a gap or a level without a logarithm, or has no spread to
divide by; it is never filled, and never NaN or infinite. No file is touched here.

Letters: t a row (a trading day), x the level of a series, r_t = log x_t - log x_{t-1} its return (x_t - x_{t-1} for
a series that is not positive at its beginning, and for a price whose label is a difference, see `Series.is_log`), w a window of the last w rows, k a lag in rows.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import polars as pl

from jobs.data.feature_names import DATE, PRICE, feature_names
from jobs.data.rolling_moments import rolling_moments

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cbi_queue.models.parameters.features import FeatureParams
    from jobs.data.feature_names import Series

_CALENDAR = {"month": pl.col(DATE).dt.month(), "day_of_week": pl.col(DATE).dt.weekday()}
"""1 to 12; 1 (Monday) to 7."""


def engineer(
    frame: pl.DataFrame, series: Sequence[Series], params: FeatureParams, as_is: Sequence[str] = ()
) -> pl.DataFrame:
    """Compute every feature of *frame*.

    Args:
        frame: `date` (Date) and one Float64 column per series, in time order, gaps as null.
        series: what the columns are; the first is the price.
        params: lags and windows.
        as_is: columns of *frame* whose value is the feature.

    Returns:
        `date`, `price` (Float64), then the features (Float32), as many rows as came in.
    """
    # Two stages: first what many features share, then all features in parallel (half the time of one stage).
    shared = _with_moments(_with_returns(frame, series), series, params)
    formulas = _formulas(series, params) | {name: pl.col(name) for name in as_is}
    features = [_finite(formulas[name]).alias(name) for name in feature_names(series, params, as_is)]
    return shared.select(DATE, PRICE, *features)


def _finite(expression: pl.Expr) -> pl.Expr:
    value = expression.cast(pl.Float32)
    return pl.when(value.is_finite()).then(value)


def _with_returns(frame: pl.DataFrame, series: Sequence[Series]) -> pl.DataFrame:
    levels = [(_log(s.name) if s.is_log else pl.col(s.name)).alias(f"{s.name}.level") for s in series]
    returns = [pl.col(f"{s.name}.level").diff().alias(f"{s.name}.r") for s in series]
    return frame.with_columns(levels).with_columns(returns)


def _log(name: str) -> pl.Expr:
    """Take the logarithm, null where there is none."""
    return pl.when(pl.col(name) > 0).then(pl.col(name).log())


def _with_moments(frame: pl.DataFrame, series: Sequence[Series], params: FeatureParams) -> pl.DataFrame:
    """Add mean and standard deviation of returns and levels, and C_xy of the price's return with the others'."""
    names = [f"{s.name}.{kind}" for kind in ("r", "level") for s in series]
    # (2 x series, rows): the returns first, beginning with the price's
    values = frame.select(names).to_numpy().T.copy()
    variances = [(i, i) for i in range(len(names))]
    with_price = [(0, i) for i in range(1, len(series))] if params.interactions else []
    moments = rolling_moments(values, variances + with_price, sorted(set(params.windows)))
    columns = []
    for w, found in moments.items():
        columns += [pl.Series(f"{name}.mean.{w}", found.mean[i]) for i, name in enumerate(names)]
        columns += [pl.Series(f"{name}.co.{w}", found.co[i]) for i, name in enumerate(names)]
        columns += [pl.Series(f"{series[i].name}.co_price.{w}", found.co[len(names) + i - 1]) for _, i in with_price]
    return frame.with_columns(columns)


def _formulas(series: Sequence[Series], params: FeatureParams) -> dict[str, pl.Expr]:
    """Return every feature: name -> expression over the shared columns."""
    windows = sorted(set(params.windows))
    found: dict[str, pl.Expr] = {}
    for s in series:
        found.update(_lagged(s.name, sorted(set(params.lags))))
        found.update(pair for w in windows for pair in _rolling(s.name, w))
    if params.interactions:
        price = series[0]
        found.update(pair for s in series[1:] for w in windows for pair in _with_price(price, s, w))
    return found | _CALENDAR


def _lagged(name: str, lags: Sequence[int]) -> Iterator[tuple[str, pl.Expr]]:
    """Return the one-day returns: today's (ret_0) and those of k trading days ago."""
    r = pl.col(f"{name}.r")
    return ((f"{name}_ret_{k}", r.shift(k)) for k in (0, *lags))


def _rolling(name: str, w: int) -> Iterator[tuple[str, pl.Expr]]:
    """Yield the statistics of the last w rows of one series.

    mean, std (n - 1), min and max of r; momentum sum(r) / (std(r) sqrt(w)), the window's return in units of its own
    spread, because sum(r) alone is w times the mean; z = (level - mean(level)) / std(level).
    """
    r, level = pl.col(f"{name}.r"), pl.col(f"{name}.level")
    mean, std = pl.col(f"{name}.r.mean.{w}"), _std(f"{name}.r", w)
    yield f"{name}_mean_{w}", mean
    yield f"{name}_std_{w}", std
    yield f"{name}_min_{w}", r.rolling_min(w)
    yield f"{name}_max_{w}", r.rolling_max(w)
    yield f"{name}_mom_{w}", mean * math.sqrt(w) / std
    yield f"{name}_z_{w}", (level - pl.col(f"{name}.level.mean.{w}")) / _std(f"{name}.level", w)


def _std(column: str, w: int) -> pl.Expr:
    return (pl.col(f"{column}.co.{w}") / (w - 1)).sqrt()


def _with_price(price: Series, other: Series, w: int) -> Iterator[tuple[str, pl.Expr]]:
    """Yield how the price (p) moved against another series (q) over the last w rows.

    corr = C_pq / sqrt(C_pp C_qq); beta = C_pq / C_qq, of the price's return on the other's; spread = the price's log
    return over w rows less the other's, only where both are logarithmic.
    """
    co = pl.col(f"{other.name}.co_price.{w}")
    own, its = pl.col(f"{price.name}.r.co.{w}"), pl.col(f"{other.name}.r.co.{w}")
    yield f"{other.name}_corr_{w}", (co / (own.sqrt() * its.sqrt())).clip(-1.0, 1.0)
    yield f"{other.name}_beta_{w}", co / its
    if price.is_log and other.is_log:
        yield (
            f"{other.name}_spread_{w}",
            (pl.col(f"{price.name}.r.mean.{w}") - pl.col(f"{other.name}.r.mean.{w}")) * w,
        )
