"""The state of the governor as a JSON record, and back: what one daemon leaves to the next. Pure.

A record that is not whole and within its ranges is refused whole: the governor then begins as after the first start.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from cbi_queue.governor.state import stored  # noqa: TC001 - pydantic reads annotations
from cbi_queue.governor.state.state import GovernorState, PersistedState

if TYPE_CHECKING:
    from cbi_queue.hardware.thresholds import Thresholds


_T = TypeVar("_T")


class RecordFault(ValueError):
    """A record is no state of this governor; the message names the value, what was found and what is allowed."""


@dataclass
class Moment:
    """One instant on both clocks."""

    __pydantic_config__: ClassVar = ConfigDict(strict=True, allow_inf_nan=False, extra="ignore")

    boot_s: stored.Seconds
    """Second of the boot clock."""
    epoch_s: stored.Seconds
    """Second of the wall clock, which may be set."""
    boot: stored.Name | None
    """Names the boot: equal names, same boot. None: not known."""

    def seconds_until(self, later: Moment) -> float:
        """Count by the boot clock within one boot, else by the wall clock; a clock that was set back counts as 0."""
        is_same_boot = self.boot is not None and self.boot == later.boot and later.boot_s >= self.boot_s
        return later.boot_s - self.boot_s if is_same_boot else max(0.0, later.epoch_s - self.epoch_s)


@dataclass
class _Version:
    version: Literal[1]


@dataclass
class _Record(PersistedState, Moment, _Version):
    """Everything that is stored, under the keys of the record."""

    __pydantic_config__: ClassVar = ConfigDict(strict=True, allow_inf_nan=False, extra="forbid")


_MOMENT, _RECORD = TypeAdapter(Moment), TypeAdapter(_Record)


def state_to_json(state: GovernorState, now: Moment) -> str:
    """Return *state* as one JSON object; *now* is this instant, by the clock that its times are of.

    What earlier versions do not know is left out while it says nothing, so that they can read the record.

    Raises:
        RecordFault: when it holds a value that `state_from_json` would refuse.
    """
    record = _Record(version=1, **vars(now), **_persisted(state))
    text = _RECORD.dump_json(record, by_alias=True, exclude_defaults=True, context=now.boot_s).decode()
    _read(_RECORD, text, now.boot_s)
    return text


def state_from_json(text: str, thresholds: Thresholds, now: Moment) -> tuple[GovernorState, float]:
    """Return the state in *text*, and the seconds since it was written.

    Its times are on the boot clock of *now*, none of the past in the future.

    Args:
        text: what `state_to_json` returned, in this boot or in another.
        thresholds: in force now; no wait is longer than they allow.
        now: this instant.

    Raises:
        RecordFault: when *text* is no such record, is of another version, or holds a value out of its range.
    """
    age_s = _read(_MOMENT, text).seconds_until(now)
    state = GovernorState(thresholds)
    vars(state).update(_persisted(_read(_RECORD, text, now.boot_s - age_s)))
    state.drop_old(now.boot_s)
    return state, age_s


def _persisted(state: PersistedState) -> dict[str, Any]:
    return {field.name: getattr(state, field.name) for field in fields(PersistedState)}


def _read(form: TypeAdapter[_T], text: str, written_s: float = 0.0) -> _T:
    try:
        return form.validate_json(text, context=written_s)
    except ValidationError as exc:
        error = exc.errors(include_url=False, include_context=False)[0]
        where = ".".join(map(str, error["loc"])) or "the record"
        raise RecordFault(f"{where} is {str(error['input'])[:80]!r}, which no record of this version can hold") from exc
