"""Parameters of jobs that use what others trained: an export, a backtest, a forecast."""

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


class DailyForecastParams(ModelParams):
    """Which data are forecast from."""

    old_data: bool = False
    """Forecast although the data end long before today, from their last day; otherwise such data are refused."""
