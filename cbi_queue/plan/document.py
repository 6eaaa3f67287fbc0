"""The keys of a day plan as pydantic models: what one file may hold, key by key.

Both the check of a file (`drafting`) and the JSON Schema for editors (`schema`) come from these;
the sentence below a field is what an editor shows. Ranges equal those of `spec.JobSpec`, and a test holds them together.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from cbi_queue.datasets.place import DEFAULT
from cbi_queue.identity import MAX_TIMEOUT_S
from cbi_queue.models.kinds import Family, Horizon  # noqa: TC001 - pydantic reads annotations at run time
from cbi_queue.models.parameters.script import (  # noqa: TC001 - as above
    Argument,
    OutputPattern,
    ProjectName,
    RankBy,
    VariableName,
)

MAX_NEEDS = 50
MAX_WINDOWS = 200
"""Most windows of a walk-forward evaluation."""

Template = Annotated[str, Field(min_length=1, max_length=120)]
"""A job name that may hold placeholders: `lgbm-{horizon}-{num_leaves}`."""
Priority = Annotated[int, Field(ge=-1000, le=1000)]
Retries = Annotated[int, Field(ge=0, le=20)]
Timeout = Annotated[float, Field(gt=0, le=MAX_TIMEOUT_S)] | Annotated[str, Field(max_length=20)] | None


DatasetName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,79}$")]

_KEYS = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, defer_build=True)


class Defaults(BaseModel):
    """Values for jobs that do not set their own."""

    model_config = _KEYS

    retries: Retries = 1
    """Further attempts after an error; crashes, evictions and stops do not count."""
    timeout: Timeout = None
    """Longest time of one attempt, pauses excluded: seconds, or text like 90s, 10m, 2h, 1d. null: no limit."""
    priority: Priority = 0
    """Higher runs first; equal priorities run in plan order."""
    backend: str | None = None
    """Runtime for every job whose model it can train; the others keep their model's own."""
    params: dict[str, Any] = Field(default_factory=dict)
    """Parameters for every job whose model knows them."""


class JobEntry(BaseModel):
    """One job, or one job a combination when there is a matrix."""

    model_config = _KEYS

    name: Template
    """Unique name; lower case, digits, dot, dash, underscore. {horizon}, {model} and {parameter} are filled in."""
    family: Family
    """Kind of model, as the week's budget counts them."""
    model: str | None = None
    """Which model of the family; may be left out when the family has exactly one."""
    horizon: Horizon | None = None
    """How far ahead the price is forecast. Required, here or in the matrix."""
    dataset: DatasetName | None = None
    """Data set that it reads; default: the one of the plan."""
    backend: str | None = None
    """Runtime that trains it; default: the model's first."""
    params: dict[str, Any] = Field(default_factory=dict)
    """Parameters of the model; what is left out keeps its default."""
    command: list[Argument | int | float] | None = Field(default=None, min_length=1, max_length=1000)
    """Of a script: the program and its arguments, each by itself; `{name}` stands for the parameter of that name."""
    workdir: Annotated[str, Field(min_length=1, max_length=4096)] | None = None
    """Of a script: folder in which it starts, seen from this file; default: the folder of this file."""
    environment: dict[VariableName, Argument] = Field(default_factory=dict)
    """Of a script: variables that it gets, stored with the job; secrets go into `environment_file`."""
    environment_file: Annotated[str, Field(min_length=1, max_length=4096)] | None = None
    """Of a script: file of NAME=value lines that only you can read (chmod 600); read at each start, never stored."""
    inputs: list[Annotated[str, Field(min_length=1, max_length=4096)]] = Field(default_factory=list, max_length=1000)
    """Of a script: files that it reads, seen from the workdir; with other content the job is queued again."""
    outputs: list[OutputPattern] = Field(default_factory=list, max_length=100)
    """Of a script: files below the workdir that are kept in the run folder, as globs: `results/*.csv`."""
    memory_mib: Annotated[float, Field(gt=0, le=16_777_216)] | None = None
    """Of a script: memory that must be free before it starts, MiB; default: the most that such commands took before."""
    project: ProjectName | None = None
    """Of a script: whose board it is on; default: the name of its folder."""
    rank_by: RankBy | None = None
    """Of a script: the figure that ranks its project, and which comes first, lower or higher: `{error: lower}`."""
    mlflow: bool = False
    """Of a script: whether it gets `MLFLOW_TRACKING_URI` of our store, to log runs of its own."""
    priority: Priority = 0
    """Higher runs first; equal priorities run in plan order."""
    needs: list[Template] = Field(default_factory=list, max_length=MAX_NEEDS)
    """Names of the jobs that must have succeeded first; placeholders are filled in."""
    after: list[Template] = Field(default_factory=list, max_length=MAX_NEEDS)
    """Names of the jobs that must have ended first, whatever came of them; an ensemble combines these."""
    retries: Retries = 1
    """Further attempts after an error; crashes, evictions and stops do not count."""
    timeout: Timeout = None
    """Longest time of one attempt, pauses excluded: seconds, or text like 90s, 10m, 2h, 1d. null: no limit."""
    matrix: dict[str, Annotated[list[Any], Field(min_length=1)]] = Field(default_factory=dict)
    """Lists for horizon, model, dataset or params.NAME: one job for each combination, in the order written."""


class PlanFile(BaseModel):
    """A day plan of cbi-queue: the jobs of one day, in order."""

    model_config = _KEYS

    day: int = Field(ge=0, le=366)
    """Day of the week's plan, 1 to 7; 0 and other days do not count towards the week's budget."""
    title: str = Field(default="", max_length=200)
    """One line for people."""
    dataset: DatasetName = DEFAULT
    """Data set of every job that names none (`cbi-queue data list`); default: the seed's exports folder."""
    evaluation: dict[str, Any] = Field(default_factory=dict)
    """How every model of this plan is split and judged: scheme, windows, refit_every_rows and the other shared parameters."""
    defaults: Defaults = Field(default_factory=Defaults)
    """Values for jobs that do not set their own."""
    jobs: list[JobEntry] = Field(min_length=1, max_length=500)
    """The jobs, in plan order."""
