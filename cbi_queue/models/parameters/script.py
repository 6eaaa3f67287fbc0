"""Parameters of a job that runs a command of the user's own."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from cbi_queue.models.parameters.common import ModelParams

Argument = Annotated[str, Field(max_length=32_768, pattern=r"^[^\x00]*$")]
VariableName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")]


class ScriptParams(ModelParams):
    """What is run, where, and with what."""

    command: tuple[Argument, ...] = Field(default=(), max_length=1000)
    """The program and its arguments, each by itself: no shell reads them."""
    workdir: str = Field(default="", max_length=4096)
    """Absolute path of the folder in which it starts."""
    environment: dict[VariableName, Argument] = Field(default_factory=dict)
    """Variables that are added to the trainer's. They are stored in the ledger: secrets go into `environment_file`."""
    environment_file: str | None = Field(default=None, max_length=4096)
    """File of `NAME=value` lines that only its owner can read; read at the start and never stored."""
    values: dict[VariableName, Any] = Field(default_factory=dict)
    """The job's own parameters, which were filled into the command."""
