"""What the parameters of every model are made of, and how every forecasting model is split and scored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from collections.abc import Mapping


class ModelParams(BaseModel):
    """Parameters of a model; every field has a default, a unit and a range."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)


MIN_TRAIN_ROWS = 100
"""Fewest rows of a training block."""
LEAST_BLOCK_ROWS = 30
"""Fewest rows of a block that is scored."""
ColumnName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")]
Days = Annotated[int, Field(ge=1, le=504)]


class EvaluationParams(ModelParams):
    """How every forecasting model is split and scored."""

    scheme: Literal["holdout", "walk_forward"] = "holdout"
    """holdout: one fit, judged on the last rows, quick. walk_forward: fitted again and again on all rows known by then,
    as it would have been used."""
    refit_every_rows: int = Field(default=63, ge=1, le=504)
    """walk_forward: trading days that one fit forecasts before the next one."""
    final_block_rows: int = Field(default=252, ge=0, le=5000)
    """walk_forward: trading days at the end that stay closed until they are asked for; 0 for none."""
    validation_rows: int = Field(default=504, ge=LEAST_BLOCK_ROWS, le=5000)
    """Trading days of the validation block, which selects."""
    backtest_rows: int = Field(default=504, ge=LEAST_BLOCK_ROWS, le=5000)
    """Trading days of the block that only judges."""
    embargo_rows: int = Field(default=21, ge=0, le=504)
    """Trading days left out beyond the purge of one horizon."""
    quarantine_psi: float | None = Field(default=None, gt=0, le=100)
    """Leave features out of a fit whose recent distribution moved by more than this; null: none. Baselines,
    statistical and volatility models read no features."""
    seed: int = Field(default=0, ge=0, le=2**31 - 1)

    def refitted(self, selection: Mapping[str, Any]) -> Self:  # noqa: ARG002 - models that select a length use it
        """Return the parameters of a fit after the one that selected.

        Args:
            selection: metrics of the fit whose length the validation block selected, as in its `details`.
        """
        return self

    def rows_needed(self, horizon_days: int) -> int:
        """Return the fewest rows of features that leave `MIN_TRAIN_ROWS` to train on."""
        final = self.final_block_rows if self.scheme == "walk_forward" else 0
        gaps = (3 if final else 2) * (horizon_days + self.embargo_rows)
        return MIN_TRAIN_ROWS + self.validation_rows + self.backtest_rows + final + gaps + horizon_days
