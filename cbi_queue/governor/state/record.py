"""The governor's memory as a record of plain JSON values, and back: what one daemon leaves to the next. Pure.

Times are told as ages, with both clocks at the writing, so that a record means the same after a reboot. A record that
is not whole and within its ranges is refused whole: the governor then begins anew, as after the first start.

What is not brought over: strain and a refusal to start ("lasts since" needs looks, and nobody looked meanwhile), the
speed of a trainer that is gone, and remarks on its slow-downs. Neighbours: `slot_memory` (what is recorded),
`record_form` (its keys and ranges), `cbi_queue.telemetry.governor_log` (where it is kept), `workers.governor.state_store` (when).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import ValidationError

from cbi_queue.governor.state.cost_account import CostAccount
from cbi_queue.governor.state.record_schema import (
    MOST_GAIN,
    VERSION,
    CostRecord,
    GainRecord,
    HoldRecord,
    MemoryRecord,
    RefutationRecord,
    ReliefRecord,
    SaidRecord,
    StepRecord,
    TrialRecord,
)
from cbi_queue.governor.state.state import HOUR_S, GovernorState, Hold, Refutation, Relief, Trial

if TYPE_CHECKING:
    from cbi_queue.hardware.thresholds import Thresholds

SAID_KEPT_S = 86400.0
"""Seconds after which any remark may be made again, whatever the thresholds are."""


class RecordFault(ValueError):
    """A record is no memory of this governor; the message says where, what was seen and what is allowed."""


@dataclass(frozen=True, slots=True)
class Moment:
    """One instant on both clocks."""

    boot_s: float
    """Second of the boot clock."""
    epoch_s: float
    """Second of the wall clock, which may be set."""
    boot: str | None
    """Names the boot: equal names, same boot. None: not known."""


@dataclass(frozen=True, slots=True)
class Recalled:
    """A memory that was brought over."""

    state: GovernorState
    age_s: float
    """Seconds since it was written down."""


def memory_to_json(state: GovernorState, now: Moment) -> str:
    """Return *state* as one JSON object; *now* is this instant, by the clock that its times are of.

    Raises:
        RecordFault: when it holds a value that `memory_from_json` would refuse.
    """
    try:
        return _record_of(state, now).model_dump_json()
    except ValidationError as exc:
        raise RecordFault(_words(exc)) from exc


def memory_from_json(text: str, thresholds: Thresholds, now: Moment) -> Recalled:
    """Return the memory that *text* tells, its times on the boot clock of *now* and none of the past in the future.

    Args:
        text: what `memory_to_json` returned, in this boot or in another.
        thresholds: in force now; no wait is longer than they allow.
        now: this instant.

    Raises:
        RecordFault: when *text* is no such record, is of another version, or holds a value out of its range.
    """
    try:
        record = MemoryRecord.model_validate_json(text)
    except ValidationError as exc:
        raise RecordFault(_words(exc)) from exc
    gone_s = _seconds_since(Moment(record.boot_s, record.epoch_s, record.boot), now)
    return Recalled(_memory_of(record, thresholds, _Shift(now.boot_s, gone_s)), gone_s)


def _seconds_since(then: Moment, now: Moment) -> float:
    """Count by the boot clock within one boot, by the wall clock otherwise; a clock that was set back counts as 0."""
    is_same_boot = then.boot is not None and then.boot == now.boot and now.boot_s >= then.boot_s
    return now.boot_s - then.boot_s if is_same_boot else max(0.0, now.epoch_s - then.epoch_s)


def _record_of(state: GovernorState, now: Moment) -> MemoryRecord:
    now_s = now.boot_s

    def ago(at_s: float | None) -> float | None:
        return None if at_s is None or math.isinf(at_s) else _age(now_s, at_s)

    return MemoryRecord(
        version=VERSION,
        boot=now.boot,
        boot_s=now_s,
        epoch_s=now.epoch_s,
        duty=state.duty,
        proven_duty=state.proven_duty,
        stuck_level=state.stuck_level,
        gains=tuple(GainRecord(duty=duty, factor=min(factor, MOST_GAIN)) for duty, factor in state.gains.items()),
        hold=_hold_to_record(state.hold, now_s),
        trial=_trial_to_record(state.trial, now_s),
        refutations=tuple(
            RefutationRecord(
                what=what, age_s=_age(now_s, one.at_s), left_s=_round(one.until_s - now_s), times=one.times
            )
            for what, one in state.refutations.items()
        ),
        relief=ReliefRecord(
            uneased=state.relief.uneased,
            held_mib=state.relief.held_mib,
            batch_no_help=tuple(sorted(state.relief.batch_no_help)),
        ),
        heat_up_wait_s=state.heat_up_wait_s,
        last_up_ago_s=ago(state.last_up_s),
        last_trained_ago_s=ago(state.last_trained_s),
        probe_asked_ago_s=ago(state.probe_asked_s),
        steps=tuple(
            StepRecord(cause=cause, action=action, age_s=_age(now_s, at_s))
            for cause, steps in state.steps.items()
            for at_s, action in steps
        ),
        costs=tuple(
            CostRecord(age_s=_round(age_s), lost_s=_round(lost_s), watched_s=_round(watched_s))
            for age_s, lost_s, watched_s in state.account.entries(now_s)
        ),
        said=tuple(SaidRecord(what=what, age_s=_age(now_s, at_s)) for what, at_s in state.said.items()),
    )


def _hold_to_record(hold: Hold | None, now_s: float) -> HoldRecord | None:
    if hold is None:
        return None
    return HoldRecord(
        cause=hold.cause,
        age_s=_age(now_s, hold.since_s),
        left_s=_round(hold.until_s - now_s),
        evicted=hold.evicted,
        least=hold.least,
        least_level=hold.least_level,
    )


def _trial_to_record(trial: Trial | None, now_s: float) -> TrialRecord | None:
    if trial is None:
        return None
    return TrialRecord(
        age_s=_age(now_s, trial.at_s),
        duty_before=trial.duty_before,
        duty=trial.duty,
        slow=trial.slow,
        grade=trial.grade,
        level=trial.level,
        temp_c=trial.temp_c,
    )


@dataclass(frozen=True, slots=True)
class _Shift:
    """From the ages of a record to seconds of this boot's clock."""

    now_s: float
    gone_s: float
    """Seconds since the record was written."""

    def at(self, age_s: float) -> float:
        """Return when it was; never in the future."""
        return self.now_s - self.gone_s - age_s

    def at_or_never(self, age_s: float | None) -> float:
        """Return when it was; minus infinity when it never was."""
        return float("-inf") if age_s is None else self.at(age_s)

    def until(self, left_s: float, longest_s: float) -> float:
        """Return when it ends, at most *longest_s* from now."""
        return self.now_s + min(left_s - self.gone_s, longest_s)


def _memory_of(record: MemoryRecord, thresholds: Thresholds, shift: _Shift) -> GovernorState:
    state = GovernorState(thresholds)
    state.duty, state.proven_duty, state.stuck_level = record.duty, record.proven_duty, record.stuck_level
    state.gains = {gain.duty: gain.factor for gain in record.gains}
    state.hold, state.trial = _hold_of(record.hold, thresholds, shift), _trial_of(record.trial, shift)
    state.refutations = _refutations_of(record, thresholds, shift)
    relief = record.relief
    state.relief = Relief(relief.uneased, relief.held_mib, set(relief.batch_no_help))
    longest_wait_s = max(thresholds.heat_up_wait_s, thresholds.heat_up_wait_max_s)
    state.heat_up_wait_s = min(max(record.heat_up_wait_s, thresholds.heat_up_wait_s), longest_wait_s)
    state.last_up_s = shift.at_or_never(record.last_up_ago_s)
    state.probe_asked_s = shift.at_or_never(record.probe_asked_ago_s)
    state.last_trained_s = None if record.last_trained_ago_s is None else shift.at(record.last_trained_ago_s)
    _take_steps(state, record, shift)
    costs = ((shift.gone_s + one.age_s, one.lost_s, one.watched_s) for one in record.costs)
    state.account = CostAccount.of(costs, shift.now_s)
    state.said = {one.what: shift.at(one.age_s) for one in record.said if shift.gone_s + one.age_s < SAID_KEPT_S}
    return state


def _hold_of(record: HoldRecord | None, thresholds: Thresholds, shift: _Shift) -> Hold | None:
    if record is None:
        return None
    until_s = shift.until(record.left_s, thresholds.pause_max_s)
    return Hold(record.cause, shift.at(record.age_s), until_s, record.evicted, record.least, record.least_level)


def _trial_of(record: TrialRecord | None, shift: _Shift) -> Trial | None:
    if record is None:
        return None
    return Trial(
        shift.at(record.age_s), record.duty_before, record.duty, record.slow, None, record.grade, record.level,
        record.temp_c,
    )  # fmt: skip


def _refutations_of(record: MemoryRecord, thresholds: Thresholds, shift: _Shift) -> dict[str, Refutation]:
    """Return what was refuted; what has been over for as long as the longest refutation lasts begins anew."""
    return {
        one.what: Refutation(shift.at(one.age_s), shift.until(one.left_s, thresholds.refuted_max_s), one.times)
        for one in record.refutations
        if shift.gone_s - one.left_s < thresholds.refuted_max_s
    }


def _take_steps(state: GovernorState, record: MemoryRecord, shift: _Shift) -> None:
    for step in sorted(record.steps, key=lambda step: step.age_s, reverse=True):
        if shift.gone_s + step.age_s < _steps_kept_s(state.thresholds):
            state.step(step.cause, step.action, shift.at(step.age_s))


def _steps_kept_s(t: Thresholds) -> float:
    """Return the longest time for which anybody asks about a step: the hour that is counted, and each wait after one."""
    return max(HOUR_S, t.heat_dwell_s, t.heat_up_wait_s, t.heat_up_wait_max_s, t.evict_gap_s, t.recycle_gap_s)


def _age(now_s: float, at_s: float) -> float:
    return max(0.0, _round(now_s - at_s))


def _round(seconds: float) -> float:
    """Keep milliseconds: no wait is finer, and records stay short."""
    return round(seconds, 3)


def _words(exc: ValidationError) -> str:
    """Say what is wrong with the first value that is."""
    error = exc.errors(include_url=False, include_context=False)[0]
    where = ".".join(map(str, error["loc"])) or "the record"
    return f"{where} is {str(error['input'])[:80]!r}: {error['msg']}"
