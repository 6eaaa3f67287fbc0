"""The features of a small table of Polars, as a table of Polars: quicker to write and to compare than arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from jobs.data import features

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cbi_queue.models.parameters.features import FeatureParams
    from jobs.data.feature_names import Series


def engineer(
    table: pl.DataFrame, series: Sequence[Series], params: FeatureParams, as_is: Sequence[str] = ()
) -> pl.DataFrame:
    """Compute every feature of *table*: `date` (Date), and one numeric column per series and as-is column."""
    days = table["date"].to_physical().to_numpy().astype(np.int64)
    columns = {name: table[name].cast(pl.Float64).to_numpy().copy() for name in table.columns if name != "date"}
    made = pl.from_arrow(features.engineer(days, columns, series, params, as_is))
    assert isinstance(made, pl.DataFrame)
    return made
