"""Help for tests of exports: one altered value, and the complaint about a frame."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl
import pytest

from jobs.trainer import BrokenSpec

if TYPE_CHECKING:
    from collections.abc import Callable

EXPORT = "production_training_data_1m.parquet"


def at(row: int, column: str, value: object) -> pl.Expr:
    """The column with another value in one row."""
    return pl.when(pl.int_range(pl.len()) == row).then(value).otherwise(column).alias(column)


def complaint(attempt: Callable[..., object], frame: pl.DataFrame | None, **params: object) -> str:
    """The words with which features of *frame* are refused."""
    with pytest.raises(BrokenSpec) as caught:
        attempt(frame, **params)
    return str(caught.value)
