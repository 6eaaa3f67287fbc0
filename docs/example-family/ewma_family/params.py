"""The parameters of `ewma_drift`: each with a default and a range, so that `plan check` can refuse a slip."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from cbi_queue.models.parameters.common import EvaluationParams


class EwmaDriftParams(EvaluationParams):
    """An exponentially weighted mean of the daily log returns."""

    half_lives: tuple[Annotated[int, Field(ge=1, le=5000)], ...] = Field(
        default=(21, 63, 126, 252, 504), min_length=1, max_length=100
    )
    """Trading days after which a return weighs half as much; the training block chooses one of them."""
