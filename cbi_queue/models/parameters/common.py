"""What the parameters of every model are made of, and how every forecasting model is split and scored."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class ModelParams(BaseModel):
    """Parameters of a model; every field has a default, a unit and a range."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


ColumnName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")]
Days = Annotated[int, Field(ge=1, le=504)]


class EvaluationParams(ModelParams):
    """How every forecasting model is split and scored."""

    validation_rows: int = Field(default=504, ge=30, le=5000)
    """Trading days of the validation block, which selects."""
    backtest_rows: int = Field(default=504, ge=30, le=5000)
    """Trading days of the last block, which only judges."""
    embargo_rows: int = Field(default=21, ge=0, le=504)
    """Trading days left out beyond the purge of one horizon."""
    seed: int = Field(default=0, ge=0, le=2**31 - 1)
