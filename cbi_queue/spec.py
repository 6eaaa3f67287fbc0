"""What a job is: `JobSpec` and `DayPlan`, frozen and validated values.

A spec is the content of a job, not its state; its identity is the hash of that content, so enqueuing the same plan twice
changes nothing. The snapshot of the data belongs to it: on other data the same model is another job. Parameters are checked against the parameter class of the model.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, model_validator
from pydantic_core import PydanticCustomError

from cbi_queue.datasets.place import DEFAULT
from cbi_queue.identity import MAX_TIMEOUT_S, NAME_PATTERN, canonical_json
from cbi_queue.models.catalogue import entry_for, models_of, outside
from cbi_queue.models.kinds import Family, Horizon  # noqa: TC001 - pydantic reads annotations at run time
from cbi_queue.values.words import fault_words, kinds_of_pydantic, placed
from cbi_queue.values.written import seconds_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cbi_queue.models.entry import ModelEntry
    from cbi_queue.models.parameters.common import ModelParams

TIMEOUT_WORDS = "seconds, or text like 90s, 10m, 2h, 1d; more than 0, at most 14d; or null for no limit"


def timeout_seconds(written: object) -> float | None:
    """Return a timeout as written in seconds; None: no limit.

    Raises:
        ValueError: when it is not a time, or outside the range.
    """
    if written is None:
        return None
    seconds = seconds_of(written)
    if seconds is None or not 0 < seconds <= MAX_TIMEOUT_S:
        raise ValueError(TIMEOUT_WORDS)
    return seconds


Name = Annotated[str, Field(pattern=NAME_PATTERN)]


STRICTLY = "strictly"
"""Validation context that makes `JobSpec` check its parameters strictly too."""
CHECKED = "checked"
"""Validation context for a spec whose backend and parameters were just checked and written out: `JobSpec` takes them as
they are, which halves what a plan of thousands of jobs costs."""


class JobSpec(BaseModel):
    """One job, fully written out: one model of one family for one horizon."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)

    day: int = Field(ge=0, le=366)
    """Day of the plan; 0 for plans outside the week."""
    name: Name
    family: Family
    model: str
    horizon: Horizon | Literal["-"]
    """`-` for a script, which has none."""
    backend: str
    """Key into the settings' `[runtimes]`: which interpreter runs the trainer."""
    params: dict[str, Any] = Field(default_factory=dict)
    """As written plus every default filled in: plain JSON values."""
    needs: tuple[Name, ...] = ()
    """Names of the jobs that must have succeeded first."""
    after: tuple[Name, ...] = ()
    """Names of the jobs that must have ended first, whatever came of them; those that an ensemble combines."""
    priority: int = Field(default=0, strict=True, ge=-1000, le=1000)
    """Higher runs first; equal priorities run in plan order."""
    retries: int = Field(default=1, strict=True, ge=0, le=20)
    """Further attempts after an error. Crashes, evictions and stops do not count."""
    timeout_s: float | None = Field(default=None, strict=True, gt=0, le=MAX_TIMEOUT_S)
    """Seconds one attempt may run, pauses excluded; None: no limit."""
    dataset: Name = DEFAULT
    """The data set that it reads."""
    snapshot: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    """Which snapshot of the data set it reads, set when it is enqueued; None: whatever is there."""
    combines: tuple[str, ...] | None = None
    """Runs that an ensemble combines, each as `JOB.ATTEMPT`, set when it starts; None: not known yet, or no ensemble."""

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, raw: Any, info: ValidationInfo) -> Any:
        """Fill in the model's default backend and parameters, so that the identity covers everything that runs."""
        if info.context == CHECKED or not isinstance(raw, dict):
            return raw
        if (entry := entry_for(raw.get("family"), raw.get("model"))) is None:
            return raw
        filled = {"backend": entry.default_backend, **raw}
        filled["params"] = check_params(entry, raw.get("params") or {}, strict=info.context == STRICTLY).model_dump(
            mode="json"
        )
        return filled

    @model_validator(mode="after")
    def _belongs_together(self) -> JobSpec:
        entry = self.entry
        if self.backend not in entry.backends:
            msg = f"backend {self.backend!r} cannot run {self.model}; allowed: {', '.join(entry.backends)}"
            raise ValueError(msg)
        return self

    @property
    def entry(self) -> ModelEntry:
        """The catalogue's entry of this job's model.

        Raises:
            ValueError: when family and model do not belong together.
        """
        entry = entry_for(self.family, self.model)
        if entry is None:
            allowed = ", ".join(models_of(self.family)) + outside().fault_words
            msg = f"model {self.model!r} is not of family {str(self.family)!r}; allowed: {allowed}"
            raise ValueError(msg)
        return entry

    @property
    def typed_params(self) -> ModelParams:
        """`params` as the model's own parameter class."""
        return self.entry.params.model_validate(self.params)

    @property
    def waits_for(self) -> tuple[str, ...]:
        """Names of the jobs that it needs or comes after."""
        return (*self.needs, *self.after)

    def on_snapshot(self, snapshot: str | None) -> JobSpec:
        """Return the job on another snapshot of its data."""
        return self.model_copy(update={"snapshot": snapshot})

    def canonical_json(self) -> str:
        """The spec as JSON with sorted keys: what is stored and hashed (`identity.canonical_json`)."""
        return canonical_json(self.__dict__)  # plain JSON values and words: a dump would only copy them


def strict_spec(raw: Mapping[str, Any]) -> JobSpec:
    """Check a spec as strictly as a plan is checked: no text for numbers, no true for 1, no 12.0 for 12.

    Raises:
        ValueError: with every fault in words.
    """
    try:
        return JobSpec.model_validate(raw, context=STRICTLY)
    except ValidationError as exc:
        raise ValueError(spec_faults(exc, raw)) from exc


def spec_faults(exc: ValidationError, raw: Mapping[str, Any]) -> str:
    """Return what pydantic found wrong with the spec *raw*, in our words, on one line."""
    schema = JobSpec.model_json_schema()
    if (entry := entry_for(raw.get("family"), raw.get("model"))) is not None:
        params = entry.params.model_json_schema()
        schema["properties"]["params"] = params
        schema["$defs"] = {**schema["$defs"], **params.get("$defs", {})}
    found = (
        placed(*fault_words(error, schema, "parameter" if error["loc"][:1] == ("params",) else "key"))
        for error in exc.errors(include_url=False)
    )
    return "; ".join(dict.fromkeys(found))


def check_params(entry: ModelEntry, params: dict[str, Any], *, strict: bool = False) -> ModelParams:
    """Check *params* against the model's class; *strict*: by the rules of `strict_spec`.

    Raises:
        ValidationError: located below `params`, so that a plan can name the key.
    """
    try:
        if strict:
            return entry.params.model_validate_json(json.dumps(params), strict=True)
        return entry.params.model_validate(params)
    except ValidationError as exc:
        raise ValidationError.from_exception_data(
            "params",
            [{**_line_error(e), "loc": ("params", *e["loc"])} for e in exc.errors()],  # type: ignore[typeddict-item]
        ) from exc


def _line_error(error: Any) -> dict[str, Any]:
    found = {key: error[key] for key in ("type", "input", "ctx") if key in error}
    if error["type"] not in {*kinds_of_pydantic(), "value_error", "assertion_error"}:
        found["type"] = PydanticCustomError(error["type"], error["msg"])
    return found


class DayPlan(BaseModel):
    """The jobs of one day, in order."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    day: int = Field(ge=0, le=366)
    title: str = Field(default="", max_length=200)
    source: str
    """Path of the file it was read from, for people."""
    jobs: tuple[JobSpec, ...]
