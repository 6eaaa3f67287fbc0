"""The state of the governor as a JSON record, and back: what one daemon leaves to the next. Pure.

A record that is not whole and within its ranges is refused whole: the governor then begins as after the first start.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError

from cbi_queue.governor.state.state import GovernorState, PersistedState
from cbi_queue.governor.state.stored_types import Name, Seconds  # noqa: TC001 - pydantic reads annotations

if TYPE_CHECKING:
    from cbi_queue.hardware.thresholds import Thresholds

VERSION: Final = 1
"""Of the record's form. Another one is not read."""


class RecordFault(ValueError):
    """A record is no state of this governor; the message names the value, what was found and what is allowed."""


@dataclass(frozen=True, slots=True)
class Moment:
    """One instant on both clocks."""

    boot_s: float
    """Second of the boot clock."""
    epoch_s: float
    """Second of the wall clock, which may be set."""
    boot: str | None
    """Names the boot: equal names, same boot. None: not known."""

    def seconds_until(self, later: Moment) -> float:
        """Count by the boot clock within one boot, else by the wall clock; a clock that was set back counts as 0."""
        is_same_boot = self.boot is not None and self.boot == later.boot and later.boot_s >= self.boot_s
        return later.boot_s - self.boot_s if is_same_boot else max(0.0, later.epoch_s - self.epoch_s)


@dataclass
class _Header:
    __pydantic_config__: ClassVar = ConfigDict(strict=True, allow_inf_nan=False, extra="ignore")
    version: Literal[1]
    boot: Name | None
    boot_s: Seconds
    epoch_s: Seconds


@dataclass
class _Record(PersistedState, _Header):
    """Everything that is stored, under the keys of the record."""

    __pydantic_config__: ClassVar = ConfigDict(strict=True, allow_inf_nan=False, extra="forbid")


_HEADER = TypeAdapter(_Header)
_RECORD = TypeAdapter(_Record)


@dataclass(frozen=True, slots=True)
class RestoredState:
    """A state that was brought over from an earlier daemon."""

    state: GovernorState
    age_s: float
    """Seconds since it was written."""


def state_to_json(state: GovernorState, now: Moment) -> str:
    """Return *state* as one JSON object; *now* is this instant, by the clock that its times are of.

    Raises:
        RecordFault: when it holds a value that `state_from_json` would refuse.
    """
    record = _Record(VERSION, now.boot, now.boot_s, now.epoch_s, **_persisted(state))
    text = _RECORD.dump_json(record, by_alias=True, context=now.boot_s).decode()
    _read(text, now.boot_s)
    return text


def state_from_json(text: str, thresholds: Thresholds, now: Moment) -> RestoredState:
    """Return the state in *text*, its times on the boot clock of *now* and none of the past in the future.

    Args:
        text: what `state_to_json` returned, in this boot or in another.
        thresholds: in force now; no wait is longer than they allow.
        now: this instant.

    Raises:
        RecordFault: when *text* is no such record, is of another version, or holds a value out of its range.
    """
    try:
        header = _HEADER.validate_json(text)
    except ValidationError as exc:
        raise RecordFault(_words(exc)) from exc
    age_s = Moment(header.boot_s, header.epoch_s, header.boot).seconds_until(now)
    state = GovernorState(thresholds)
    for name, value in _persisted(_read(text, now.boot_s - age_s)).items():
        setattr(state, name, value)
    state.drop_old(now.boot_s)
    return RestoredState(state, age_s)


def _persisted(state: PersistedState) -> dict[str, Any]:
    return {field.name: getattr(state, field.name) for field in fields(PersistedState)}


def _read(text: str, written_s: float) -> _Record:
    try:
        return _RECORD.validate_json(text, context=written_s)
    except ValidationError as exc:
        raise RecordFault(_words(exc)) from exc


def _words(exc: ValidationError) -> str:
    """Return in words what is wrong with the first value that is."""
    error = exc.errors(include_url=False, include_context=False)[0]
    where = ".".join(map(str, error["loc"])) or "the record"
    return f"{where} is {str(error['input'])[:80]!r}: {error['msg']}"
