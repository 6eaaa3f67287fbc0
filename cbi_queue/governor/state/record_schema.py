"""The form of the governor's memory on disk: every key with its type and range. Pure values.

Nothing is guessed and nothing is left out: a key that is unknown, missing, of another type or out of its range makes
the whole record invalid. Times are ages in seconds at the writing. Neighbour: `memory_record`, which fills it and
reads it.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from cbi_queue.governor.machine.grades import Grade  # noqa: TC001 - pydantic reads annotations at run time
from cbi_queue.governor.values import Action, Cause  # noqa: TC001 - the same

VERSION: Final = 1
"""Of the form. Another one is not read."""
MOST_GAIN = 100.0
"""More than any pace can win: a slip of a clock, which must not make the whole record unreadable."""

Seconds = Annotated[float, Field(ge=0.0, le=1e11)]
Age = Annotated[float, Field(ge=0.0, le=1e10)]
"""Seconds from then to the writing."""
Left = Annotated[float, Field(ge=-1e10, le=1e7)]
"""Seconds from the writing until then; below 0 when it was over."""
Duty = Annotated[float, Field(ge=0.1, le=1.0)]
Level = Annotated[float, Field(ge=0.0, le=4.0)]
Celsius = Annotated[float, Field(ge=-100.0, le=1000.0)]
Words = Annotated[str, Field(min_length=1, max_length=100)]


class _Values(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)


class HoldRecord(_Values):
    """A hold of the governor."""

    cause: Cause
    age_s: Age
    left_s: Left
    evicted: bool
    least: Grade | None
    least_level: Level | None


class TrialRecord(_Values):
    """A step on trial, without the speed before it: that was of a trainer which is gone."""

    age_s: Age
    duty_before: Duty
    duty: Duty
    slow: bool
    grade: Grade | None
    level: Level | None
    temp_c: Celsius | None


class RefutationRecord(_Values):
    """A cause whose step did not help."""

    what: Words
    age_s: Age
    left_s: Left
    times: int = Field(ge=1, le=1000)


class ReliefRecord(_Values):
    """How far steps against pressure on memory have helped."""

    uneased: int = Field(ge=0, le=1000)
    held_mib: float | None = Field(ge=0.0, le=1e9)
    batch_no_help: tuple[Annotated[str, Field(min_length=1, max_length=1000)], ...] = Field(max_length=1000)


class StepRecord(_Values):
    """One step of the ladder."""

    cause: Cause
    action: Action
    age_s: Age


class CostRecord(_Values):
    """What a quarter of an hour cost."""

    age_s: Age
    lost_s: Seconds
    watched_s: Seconds

    @model_validator(mode="after")
    def _is_part_of_the_whole(self) -> Self:
        if self.lost_s > self.watched_s:
            raise ValueError(f"{self.lost_s:g} s were lost of {self.watched_s:g} s; allowed is no more than all")
        return self


class SaidRecord(_Values):
    """A remark that is not repeated yet."""

    what: Words
    age_s: Age


class GainRecord(_Values):
    """How many times as much a worked second got done at a pace."""

    duty: Duty
    factor: float = Field(ge=1.0, le=MOST_GAIN)


class MemoryRecord(_Values):
    """Everything that one daemon leaves to the next."""

    version: Literal[1]
    boot: Words | None
    boot_s: Seconds
    epoch_s: Seconds
    duty: Duty
    proven_duty: Duty
    stuck_level: Level | None
    gains: tuple[GainRecord, ...] = Field(max_length=100)
    hold: HoldRecord | None
    trial: TrialRecord | None
    refutations: tuple[RefutationRecord, ...] = Field(max_length=100)
    relief: ReliefRecord
    heat_up_wait_s: Seconds
    last_up_ago_s: Age | None
    last_trained_ago_s: Age | None
    probe_asked_ago_s: Age | None
    steps: tuple[StepRecord, ...] = Field(max_length=2000)
    costs: tuple[CostRecord, ...] = Field(max_length=200)
    said: tuple[SaidRecord, ...] = Field(max_length=200)
