"""Parameters of jobs that report on what others trained: an export, a backtest."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from cbi_queue.models.parameters.common import ModelParams

JobName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,79}$")]


class ExportParams(ModelParams):
    """What is written as a package for Vertex AI."""

    job: JobName | None = None
    """Job whose model is exported; null: the one that its board ranks first when the export begins."""


class BacktestParams(ModelParams):
    """Which models are traded."""

    best: Annotated[int, Field(ge=1, le=6)] = 1
    """Models that are traded: the first ones of the board."""
