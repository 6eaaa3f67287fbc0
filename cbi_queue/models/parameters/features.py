"""Parameters of the feature cache."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from cbi_queue.models.parameters.common import ColumnName, Days, ModelParams


class FeatureParams(ModelParams):
    """How the feature cache of one horizon is built."""

    date_column: ColumnName = "date"
    price_column: ColumnName = "price"
    """Column that is forecast: prices above zero, unless the label of the data set is a difference."""
    lags: tuple[Days, ...] = Field(default=(1, 2, 3, 5, 10, 21, 42, 63), min_length=1, max_length=32)
    """Trading days back whose log return is a feature."""
    windows: tuple[Annotated[int, Field(ge=2, le=504)], ...] = Field(default=(5, 10, 21, 63, 126), max_length=16)
    """Trading days of the rolling statistics and momentum."""
    interactions: bool = True
    """Cross-series features: return spreads and rolling correlations of the price with each covariate."""
