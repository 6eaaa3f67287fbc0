"""Parameters of a job that runs a command of the user's own."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from cbi_queue.models.parameters.common import ModelParams

Argument = Annotated[str, Field(max_length=32_768, pattern=r"^[^\x00]*$")]
VariableName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")]


def _below(pattern: str) -> str:
    if pattern.startswith("/") or ".." in pattern.split("/") or "\0" in pattern:
        raise ValueError("must stay below the workdir: no leading slash and no '..'")
    return pattern


OutputPattern = Annotated[str, Field(min_length=1, max_length=1000), AfterValidator(_below)]

ProjectName = Annotated[str, Field(min_length=1, max_length=80)]
RankBy = Annotated[
    dict[Annotated[str, Field(min_length=1, max_length=100)], Literal["lower", "higher"]],
    Field(min_length=1, max_length=1),
]


class ScriptParams(ModelParams):
    """What is run, where, and with what."""

    command: tuple[Argument, ...] = Field(default=(), max_length=1000)
    """The program and its arguments, each by itself: no shell reads them."""
    workdir: str = Field(default="", max_length=4096)
    """Absolute path of the folder in which it starts."""
    environment: dict[VariableName, Argument] = Field(default={})
    """Variables that are added to the trainer's. They are stored in the ledger: secrets go into `environment_file`."""
    environment_file: str | None = Field(default=None, max_length=4096)
    """File of `NAME=value` lines that only its owner can read; read at the start and never stored."""
    inputs: tuple[Argument, ...] = Field(default=(), max_length=1000)
    """Absolute paths of files that it reads: another content makes it another state of the job."""
    outputs: tuple[OutputPattern, ...] = Field(default=(), max_length=100)
    """Files below the workdir, as globs, that are copied into the run folder once it has succeeded."""
    memory_mib: float | None = Field(default=None, gt=0, le=16_777_216)
    """Memory that must be free before it starts, MiB; runs of the same shape that took more count, too."""
    project: ProjectName | None = None
    """Whose board it is on; None: the name of its folder."""
    rank_by: RankBy | None = None
    """The figure that ranks its project, with which of lower and higher comes first: `{error: lower}`."""
    mlflow: bool = False
    """Whether it gets the address of our store of MLflow, to log runs of its own."""
    values: dict[VariableName, Any] = Field(default={})
    """The job's own parameters, which were filled into the command."""
