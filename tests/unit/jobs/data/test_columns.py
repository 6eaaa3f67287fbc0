"""`jobs.data.columns`: what becomes of the days and numbers of a batch."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest

from cbi_queue.datasets.description import DataSet
from cbi_queue.models.parameters.features import FeatureParams
from jobs.data.columns import NO_DATE, columns_of

DAYS = [date(1969, 12, 30), date(1970, 1, 2), None, date(2024, 2, 29)]
STAMPS = [np.datetime64(text) for text in ("1969-12-30T23:59", "1970-01-02T00:01", "NaT", "2024-02-29T12:00")]


@pytest.mark.parametrize(
    "days",
    [
        pa.array(DAYS, pa.date32()),
        pa.array(DAYS, pa.date64()),
        pa.array(np.array(STAMPS, "datetime64[ns]")),
        pa.array(np.array(STAMPS, "datetime64[s]")),
        pa.array(np.array(STAMPS, "datetime64[us]"), pa.timestamp("us", "UTC")),
    ],
    ids=str,
)
@pytest.mark.parametrize("first", [0, 1])
def test_days_and_numbers_of_every_kind_are_read(days, first):
    """A slice begins in the middle of Arrow's buffers, and gaps are bits of another one."""
    nan = float("nan")
    numbers = {
        "price": pa.array([1.5, None, float("nan"), -0.0]),
        "whole": pa.array([1, None, 3, 4], pa.int64()),
        "wide": pa.array([Decimal("1.25"), None, Decimal(2), Decimal(3)], pa.decimal256(50, 4)),
        "flag": pa.array([True, None, False, True]),
        "kind": pa.array([2.5, None, 2.5, 1.0]).dictionary_encode(),
        "none": pa.array([None] * 4, pa.float64()),
        "full": pa.array([1.0, 2.0, 3.0, 4.0]),
    }
    batch = pa.record_batch({"date": days, **numbers}).slice(first)
    columns = columns_of(batch.schema, FeatureParams(), DataSet())
    since, values = columns.arrays(batch)
    wanted = {
        "price": [1.5, nan, nan, -0.0],
        "whole": [1, nan, 3, 4],
        "wide": [1.25, nan, 2, 3],
        "flag": [1, nan, 0, 1],
        "kind": [2.5, nan, 2.5, 1],
        "none": [nan] * 4,
        "full": [1, 2, 3, 4],
    }
    assert since.tolist() == [NO_DATE if day is None else (day - date(1970, 1, 1)).days for day in DAYS[first:]]
    assert list(values) == list(wanted)
    for name, found in values.items():
        assert found.dtype == np.float64
        np.testing.assert_array_equal(found, wanted[name][first:])


def test_an_empty_batch_has_no_rows():
    batch = pa.record_batch({"date": pa.array([], pa.date32()), "price": pa.array([], pa.float64())})
    since, values = columns_of(batch.schema, FeatureParams(), DataSet()).arrays(batch)
    assert len(since) == len(values["price"]) == 0
