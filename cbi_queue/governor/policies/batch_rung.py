"""The micro-batch rung of the heat ladder: halved as a trial, kept when it helped, else restored. Pure.

Only work that is slow because of heat gets here. A smaller micro-batch costs no rest, but it seldom lowers power and
often makes samples dearer, so what it did is remembered for each model: where it never helped it is not tried again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cbi_queue.governor.machine.grades import Grade
from cbi_queue.governor.policies.heat_words import (
    cooled,
    did_not_help,
    heat_figures,
    heat_words,
    note_relapse,
    notify,
    steps_are_used_up,
    was_hot,
    why_cool,
)
from cbi_queue.governor.state.state import BatchRecord, Trial
from cbi_queue.governor.values import Action, Cause, Decision
from cbi_queue.wording import span

if TYPE_CHECKING:
    from cbi_queue.governor.policies.situation import Situation
    from cbi_queue.governor.state.state import GovernorState

BATCH = "micro-batch against heat"
"""What is refuted when a smaller micro-batch did not help."""
NOISE = 2 * 2**0.5
"""Standard errors that a difference of two such figures must exceed, not to be chance."""
LARGEST_NOISE = 0.10
"""Noise above which work is too unsteady for a trial: a chip that falls off a cliff every few minutes shows nothing."""
MODEL_FAILURES = 2
"""Trials of one model without a success from which on it is left alone; the first may have met another disturbance."""
MACHINE_FAILURES = 3
"""Trials of all models without a success from which on no model of this machine is tried."""


def may_help(situation: Situation) -> bool:
    """Return True when a smaller micro-batch has its turn: against slow work, steady enough for a trial to show something.

    While too little of the slow work was seen to know that, it has its turn and waits, for a trial's length at most.
    """
    t, error, slow_since_s = situation.thresholds, situation.standard_error, situation.slow_since_s
    if not situation.is_slow_for_heat or slow_since_s is None or situation.controls.halved(t.min_micro_batch) is None:
        return False
    state, record = situation.state, situation.state.batch_records.get(situation.controls.kind)
    if _never_helps(state, record) or state.is_refuted(BATCH, situation.now_s):
        return False
    return situation.now_s - slow_since_s < t.heat_trial_s if error is None else NOISE * error <= LARGEST_NOISE


def _never_helps(state: GovernorState, record: BatchRecord | None) -> bool:
    if record is not None and (record.helped or record.failed >= MODEL_FAILURES):
        return not record.helped
    records = state.batch_records.values()
    return not any(one.helped for one in records) and sum(one.failed for one in records) >= MACHINE_FAILURES


def _record(situation: Situation) -> BatchRecord:
    controls = situation.controls
    new = BatchRecord(controls.kind, 0, 0, lowered=False, is_known=controls.is_known)
    return situation.state.batch_records.setdefault(controls.kind, new)


def halve(situation: Situation) -> Decision | None:
    """Put half the micro-batch on trial; None while it cannot be judged yet, or no step may be taken."""
    t, state, controls, now_s = situation.thresholds, situation.state, situation.controls, situation.now_s
    half, before, figures = controls.halved(t.min_micro_batch), controls.micro_batch, situation.heat.figures
    too_soon = state.since_step_s(Cause.HEAT, now_s) < t.heat_dwell_s or steps_are_used_up(situation)
    if half is None or situation.seconds_per_sample is None or situation.standard_error is None or too_soon:
        return None
    note_relapse(situation)
    state.trial = Trial(
        at_s=now_s,
        duty_before=state.duty,
        duty=state.duty,
        slow=True,
        seconds_per_sample=situation.seconds_per_sample,
        grade=situation.heat.grade,
        level=figures.get("heat_level"),
        temp_c=figures.get("temp_c"),
        micro_batch_before=before,
        micro_batch=half,
    )
    _record(situation).lowered = True
    change = f"micro-batch {before} to {half}, on trial for {span(t.heat_trial_s)}; the effective batch does not change"
    return _set(situation, half, f"{heat_words(situation)}: {change}")


def judge_batch(situation: Situation, trial: Trial) -> Decision | None:
    """Judge the micro-batch on trial once its time is over: keep it, or restore the one before.

    more_done = seconds per sample before / now - 1; noise = 2 * sqrt(2) standard errors of the figure now. It stays
    when more_done is `helped_gain` or more and above the noise, or when the heat has fallen and surely no less gets
    done. Work whose speed jumps up and down shows neither.
    """
    t, state, now_s = situation.thresholds, situation.state, situation.now_s
    if situation.controls.micro_batch != trial.micro_batch:
        state.trial = None  # short memory has changed it: nothing is left to be judged
        return None
    before, now, more_done, noise = trial.seconds_per_sample, situation.seconds_per_sample, None, 0.0
    if before and now and situation.standard_error is not None:
        more_done, noise = before / now - 1.0, NOISE * situation.standard_error
    wait_s = t.heat_trial_s if more_done is not None else 3 * t.heat_trial_s
    if now_s - trial.at_s < wait_s or steps_are_used_up(situation):
        return None
    state.trial, record = None, _record(situation)
    has_cooled = was_hot(trial) and cooled(trial, situation) and noise <= 2 * t.helped_gain
    least = -t.helped_gain if has_cooled else max(t.helped_gain, noise)
    if more_done is not None and more_done >= least:
        record.helped = min(record.helped + 1, 1000)
        return None
    record.failed = min(record.failed + (more_done is not None), 1000)
    return _restore(situation, trial, more_done, record)


def _restore(situation: Situation, trial: Trial, more_done: float | None, record: BatchRecord) -> Decision | None:
    """Return to the micro-batch before the trial, unless memory is short by now: then memory's own wait ends it."""
    state, now_s, before = situation.state, situation.now_s, trial.micro_batch_before
    until = span(state.refute(BATCH, now_s).until_s - now_s)
    words = f"a micro-batch of {trial.micro_batch} {did_not_help(situation, trial, more_done)}. "
    again = "it is not tried again for this model" if _never_helps(state, record) else f"not tried again for {until}"
    if before is None or situation.pressure.is_over:
        record.lowered = False
        return notify(situation, "micro-batch", f"{words}It stays, because memory is short; {again}")
    record.lowered = before != situation.controls.full_micro_batch
    return _set(situation, before, f"{words}Undone: micro-batch {before} again; {again}", upward=True, undo=True)


def is_lowered(situation: Situation) -> bool:
    """Return True while this rung has the micro-batch lowered: then memory that is clear does not raise it."""
    record = situation.state.batch_records.get(situation.controls.kind)
    return record is not None and record.lowered


def batch_up(situation: Situation) -> Decision | None:
    """Double a micro-batch that was lowered for heat, once heat and memory have both been clear for long."""
    state, now_s, double = situation.state, situation.now_s, situation.controls.doubled()
    if not is_lowered(situation) or situation.controls.micro_batch is None or state.trial is not None:
        return None
    if double is None:
        state.batch_records[situation.controls.kind].lowered = False
        return None
    memory_clear_s, cool = state.pressure.lasts_s(Grade.CLEAR, now_s), why_cool(situation)
    if cool is None or memory_clear_s < situation.thresholds.memory_up_wait_s or steps_are_used_up(situation):
        return None
    state.last_up_s = now_s
    words = f"{cool}, and memory has been clear for {span(memory_clear_s)}"
    change = f"micro-batch {situation.controls.micro_batch} to {double}"
    return _set(situation, double, f"{words}: {change}", upward=True)


def _set(situation: Situation, size: int, words: str, *, upward: bool = False, undo: bool = False) -> Decision:
    situation.controls.micro_batch = size
    situation.state.step(Cause.HEAT, Action.MICRO_BATCH, situation.now_s)
    figures = heat_figures(situation)
    return Decision(
        situation.now_s, Action.MICRO_BATCH, Cause.HEAT, words, size, upward=upward, undo=undo, figures=figures
    )
