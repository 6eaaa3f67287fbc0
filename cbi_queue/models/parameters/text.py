"""Parameters of the job that scores headlines; what decides a score is a choice about the data set (`headlines.*`)."""

from __future__ import annotations

from pydantic import Field

from cbi_queue.models.parameters.common import ModelParams


class FinbertParams(ModelParams):
    """How headlines go through FinBERT."""

    batch_size: int = Field(default=16, ge=1, le=1024)
    """Headlines of one batch; a smaller micro-batch divides it and changes scores in their last digits only."""
