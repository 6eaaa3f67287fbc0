"""What the features of an export are called, and how far back they look: known without reading a row.

Apart from the formulas (`jobs.data.features`) because a check before training needs the names and their number, and not
the library that computes features, whose import costs more than the check.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cbi_queue.models.parameters.features import FeatureParams

DATE, PRICE = "date", "price"
CALENDAR = ("month", "day_of_week")
_ROLLING = ("mean", "std", "min", "max", "mom", "z")


@dataclass(frozen=True, slots=True)
class Series:
    """One numeric column that features are computed from; the first one is always the price."""

    name: str
    is_log: bool
    """Its returns are logarithmic; else plain differences.

    Of the price, the data set's label decides. Of a covariate, whether its first values are all positive, and these alone
    (`export_check.SETTLING_VALUES`): otherwise a late value would change what the features of earlier years mean. In a
    logarithmic covariate a later value that is not positive is a gap.
    """


def look_back_rows(params: FeatureParams) -> int:
    """Return how many rows before t a feature at t can need: r_{t-k} needs x_{t-k-1}, w returns need w rows."""
    return max(max(params.lags) + 1, max(params.windows, default=0))


def feature_names(series: Sequence[Series], params: FeatureParams, as_is: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the names of the feature columns in their order; `jobs.data.features` has the formula of each."""
    return (*series_features(series, params), *CALENDAR, *as_is)


def series_features(series: Sequence[Series], params: FeatureParams) -> Iterator[str]:
    """Yield the names of the features that are made of the series."""
    lags, windows = (0, *sorted(set(params.lags))), sorted(set(params.windows))
    for s in series:
        yield from (f"{s.name}_ret_{k}" for k in lags)
        yield from (f"{s.name}_{statistic}_{w}" for w in windows for statistic in _ROLLING)
    for s in series[1:] if params.interactions else ():
        against = ("corr", "beta", "spread") if series[0].is_log and s.is_log else ("corr", "beta")
        yield from (f"{s.name}_{statistic}_{w}" for w in windows for statistic in against)
