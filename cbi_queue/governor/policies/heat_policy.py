"""What is done about heat: the rungs of the heat ladder in turn, each on trial, and a pause near damage. Pure.

The next rung has its turn when the one before did not help or has nothing left (`GovernorState.heat_ladder`). Each pace
down is on trial. When its time is over, either more work gets done (rests counted), or the heat that asked for it has
fallen, or the pace is undone and heat is marked as not the cause; `batch_rung` does the same with the micro-batch.
Steps are few: a dwell between them, at most `steps_per_hour`, and a wait before speeding up that doubles each time the
heat returns.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from cbi_queue.governor.machine.grades import Grade
from cbi_queue.governor.policies.batch_rung import batch_up, halve, judge_batch, may_help
from cbi_queue.governor.policies.heat_words import (
    RELAPSE_S,
    SAFETY_STEPS,
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
from cbi_queue.governor.state.state import Hold, Trial
from cbi_queue.governor.values import Action, Cause, Decision
from cbi_queue.wording import span

if TYPE_CHECKING:
    from cbi_queue.governor.policies.situation import Situation

LEVEL = "heat level"
"""What is refuted when a level does not follow the work."""
HOLD_MARGIN_S = 60.0
"""Seconds by which a hold's row outlives the governor's own end of it: it expires by itself only after a crash."""
SHOWN = 1.03
"""A pace that makes worked seconds quicker by this factor shows that heat is the cause, if not yet the cure."""
RESTED_SHARE = 0.8
"""Comfort is allowed again once this share of the budget is spent, not at once when it falls below the whole."""


def decide_heat(situation: Situation) -> Decision | None:
    """Return the next decision about heat, at most one; None when nothing is to be done."""
    return _pause(situation) or _judge(situation) or batch_up(situation) or _up(situation) or _down(situation)


def _pause(situation: Situation) -> Decision | None:
    """Pause near damage: never for the sake of speed, and not for a level that did not follow the work."""
    t, state, now_s = situation.thresholds, situation.state, situation.now_s
    if situation.heat.grade is not Grade.SEVERE or state.heat.lasts_s(Grade.SEVERE, now_s) < t.severe_confirm_s:
        return None
    if Action.PAUSE not in state.heat_ladder:
        words = f"{situation.heat.words}, and the heat ladder has no pause: it continues, and the chip protects itself"
        return notify(situation, "severe", words)
    pauses = state.steps_within(Cause.HEAT, now_s, action=Action.PAUSE)
    if pauses and state.steps_within(Cause.HEAT, now_s) > t.steps_per_hour - SAFETY_STEPS:
        words = f"{situation.heat.words}, although the job was paused {'once' if pauses == 1 else f'{pauses} times'} "
        return notify(situation, "severe", f"{words}in the last hour: it continues, and the chip protects itself")
    if situation.controls.can_pace and Action.PACE in state.heat_ladder:
        # Pauses that come every hour leave comfort no step in which to undo a pace that has cost its budget.
        overspent = state.spent_share(now_s) >= t.max_throughput_loss
        state.duty = state.proven_duty = _faster(state.duty, t.paces) or state.duty if overspent else t.paces[-1]
        state.gains.clear()  # no trial has judged this pace here
    return _hold(situation, situation.heat.words)


def _hold(situation: Situation, why: str) -> Decision:
    t, state, now_s = situation.thresholds, situation.state, situation.now_s
    state.trial = None
    state.hold = Hold(Cause.HEAT, now_s, now_s + t.pause_max_s, evicted=False, least=None, least_level=None)
    state.step(Cause.HEAT, Action.PAUSE, now_s)
    words = f"{why}: paused until it has cooled, for {span(t.pause_max_s)} at most"
    figures = heat_figures(situation) | {"for_s": t.pause_max_s + HOLD_MARGIN_S}
    return Decision(now_s, Action.PAUSE, Cause.HEAT, words, figures=figures)


def _judge(situation: Situation) -> Decision | None:
    trial = situation.state.trial
    if trial is None:
        return None
    return _judge_pace(situation, trial) if trial.micro_batch is None else judge_batch(situation, trial)


def _judge_pace(situation: Situation, trial: Trial) -> Decision | None:
    """Judge the pace on trial once its time is over: keep it, go one further, or undo what did not help.

    more_done = (seconds per sample before / now) * (duty now / before) - 1, rests counted; None when not known
    """
    t, state, now_s = situation.thresholds, situation.state, situation.now_s
    if not situation.controls.can_pace:
        trial.at_s = now_s  # this trainer works at full speed: the trial starts again with one that can be paced
        return None
    quicker = more_done = has_cooled = None
    if trial.seconds_per_sample and situation.seconds_per_sample:
        quicker = trial.seconds_per_sample / situation.seconds_per_sample
        more_done = quicker * trial.duty / trial.duty_before - 1.0
    wait_s = t.heat_trial_s if quicker is not None else 3 * t.heat_trial_s
    if now_s - trial.at_s < wait_s or steps_are_used_up(situation):
        return None
    if quicker is not None:
        state.gains[trial.duty] = max(1.0, quicker * state.gains.get(trial.duty_before, 1.0))
    if was_hot(trial):
        has_cooled = cooled(trial, situation)
    helped = more_done is not None and more_done >= t.helped_gain
    is_unknown = more_done is None and has_cooled is None
    if helped or has_cooled or (is_unknown and trial.kind is None):
        state.trial, state.proven_duty = None, trial.duty
        return None
    further = _slower(trial.duty, t.paces)
    shown = was_hot(trial) and quicker is not None and quicker >= SHOWN
    if not shown or further is None or _is_overspent(situation):
        return _undo(situation, trial, more_done, quicker)
    # Judged against the same beginning: heat is the cause, and this pace was not yet enough.
    state.trial = replace(trial, at_s=now_s, duty=further)
    words = f"at a pace of {trial.duty:.0%} each second of work gets {quicker:.2f} times as much done, so heat is the "
    words += f"cause; still {situation.heat.words}: {_on_trial(situation, further)}"
    return _pace(situation, further, words)


def _undo(situation: Situation, trial: Trial, more_done: float | None, quicker: float | None) -> Decision:
    """Return to the pace before the trial, and leave the cause alone for a while."""
    state, now_s = situation.state, situation.now_s
    until = span(state.refute(Cause.HEAT, now_s).until_s - now_s)
    is_same_level = trial.level is not None and trial.level == situation.heat.figures.get("heat_level")
    if is_same_level and quicker is not None and quicker < SHOWN:
        state.stuck_level = trial.level
        state.refute(LEVEL, now_s)
    state.trial = None
    words = f"a pace of {trial.duty:.0%} {did_not_help(situation, trial, more_done)}. "
    words += f"Undone: {_speed(trial.duty_before)} again, and no pacing for heat for {until}"
    return _pace(situation, trial.duty_before, words, upward=True, undo=True)


def _up(situation: Situation) -> Decision | None:
    """Take one pace up when pacing has cost its budget, or when a sensor (without one, the work) shows no heat."""
    t, state, heat = situation.thresholds, situation.state, situation.heat
    target = _faster(state.duty, t.paces) if situation.controls.can_pace else None
    if target is None or state.trial is not None or steps_are_used_up(situation):
        return None
    since_step_s = state.since_step_s(Cause.HEAT, situation.now_s)
    is_spent = state.spent_share(situation.now_s) >= t.max_throughput_loss
    if is_spent and heat.grade is not Grade.SEVERE and since_step_s >= t.heat_dwell_s:
        state.proven_duty = target
        return _pace(situation, target, f"{_budget_words(situation)}: {_speed(target)} ({heat.words})", upward=True)
    if (cool := why_cool(situation)) is None:
        return None
    state.last_up_s, state.proven_duty = situation.now_s, target
    return _pace(situation, target, f"{cool}: {_speed(target)} again", upward=True)


def _down(situation: Situation) -> Decision | None:
    """Give the first rung its turn that has something left to try; the last rung may stand for the pause near damage."""
    state = situation.state
    if state.trial is not None:
        return None
    asks_for_pace = Action.PACE in state.heat_ladder and (_is_slow(situation) or _is_hot(situation))
    for rung in state.heat_ladder:
        if rung is Action.PACE and asks_for_pace and _has_further_pace(situation):
            return _pace_down(situation)
        if rung is Action.MICRO_BATCH and may_help(situation):
            return halve(situation)
        if rung is Action.PAUSE and rung is not state.heat_ladder[-1] and _pause_may_help(situation):
            return _hold(situation, heat_words(situation))
    return _pace_down(situation) if asks_for_pace else None


def _is_slow(situation: Situation) -> bool:
    refuted = situation.state.is_refuted(Cause.HEAT, situation.now_s, situation.slow_since_s)
    return situation.is_slow_for_heat and not refuted


def _is_hot(situation: Situation) -> bool:
    return _has_been_hot(situation) and not situation.state.is_refuted(Cause.HEAT, situation.now_s)


def _has_been_hot(situation: Situation) -> bool:
    t, state = situation.thresholds, situation.state
    hot_for_s = t.heat_confirm_s if state.duty >= 1.0 else t.heat_trial_s
    return situation.heat.is_over and state.heat.lasts_s(Grade.OVER, situation.now_s) >= hot_for_s


def _has_further_pace(situation: Situation) -> bool:
    further = _slower(situation.state.duty, situation.thresholds.paces)
    return situation.controls.can_pace and further is not None and not _is_overspent(situation)


def _pause_may_help(situation: Situation) -> bool:
    """Return True when a pause that stands before other rungs has its turn: heat that was soon back after one has not."""
    paused_lately = situation.state.steps_within(Cause.HEAT, situation.now_s, RELAPSE_S, Action.PAUSE) > 0
    no_step = paused_lately or steps_are_used_up(situation) or _is_overspent(situation)
    return not no_step and (situation.is_slow_for_heat or _has_been_hot(situation))


def _pace_down(situation: Situation) -> Decision | None:
    """Take the next pace down when the work is slow for heat, or when it is hot for long; give up where none helps."""
    t, state, now_s = situation.thresholds, situation.state, situation.now_s
    slow, hot = _is_slow(situation), _has_been_hot(situation)
    if not situation.controls.can_pace:
        words = f"{heat_words(situation)}; this trainer cannot be paced: nothing is done"
        return notify(situation, "no rung", words)
    # Without a figure of the slow work from before, the trial could not be judged.
    cannot_be_judged = not hot and situation.seconds_per_sample is None
    if cannot_be_judged or state.since_step_s(Cause.HEAT, now_s) < t.heat_dwell_s or steps_are_used_up(situation):
        return None
    target = _slower(state.duty, t.paces)
    if target is not None and not _is_overspent(situation):
        return _start_trial(situation, target, slow=slow)
    why_not = f"it already works only {state.duty:.0%} of the time" if target is None else _budget_words(situation)
    if not hot or state.duty >= 1.0:
        return notify(situation, "no rung", f"{heat_words(situation)}; {why_not}: no further step is taken")
    # It stays hot at a pace that once helped.
    until = span(state.refute(Cause.HEAT, now_s).until_s - now_s)
    words = f"{situation.heat.words} in spite of a pace of {state.duty:.0%}; {why_not}: "
    state.proven_duty = 1.0
    return _pace(situation, 1.0, f"{words}full speed again, and no pacing for heat for {until}", upward=True, undo=True)


def _start_trial(situation: Situation, target: float, *, slow: bool) -> Decision:
    state, now_s, figures = situation.state, situation.now_s, situation.heat.figures
    note_relapse(situation)
    state.trial = Trial(
        at_s=now_s,
        duty_before=state.duty,
        duty=target,
        slow=slow,
        seconds_per_sample=situation.seconds_per_sample,
        grade=situation.heat.grade,
        level=figures.get("heat_level"),
        temp_c=figures.get("temp_c"),
        kind=None if situation.heat.is_over else situation.controls.kind,
    )
    return _pace(situation, target, f"{heat_words(situation)}: {_on_trial(situation, target)}")


def _pace(situation: Situation, duty: float, words: str, *, upward: bool = False, undo: bool = False) -> Decision:
    """Put the pace in force, and count the step."""
    situation.state.duty = duty
    situation.state.step(Cause.HEAT, Action.PACE, situation.now_s)
    figures = heat_figures(situation)
    return Decision(situation.now_s, Action.PACE, Cause.HEAT, words, duty, upward=upward, undo=undo, figures=figures)


def _is_overspent(situation: Situation) -> bool:
    return situation.state.spent_share(situation.now_s) >= RESTED_SHARE * situation.thresholds.max_throughput_loss


def _budget_words(situation: Situation) -> str:
    spent, allowed = situation.state.spent_share(situation.now_s), situation.thresholds.max_throughput_loss
    return f"pacing and pauses cost {spent:.0%} of the last day's work, and {allowed:.0%} is allowed"


def _on_trial(situation: Situation, duty: float) -> str:
    return f"works {duty:.0%} of the time, on trial for {span(situation.thresholds.heat_trial_s)}"


def _slower(duty: float, paces: tuple[float, ...]) -> float | None:
    """Return the next pace below *duty*; None at the lowest."""
    return next((pace for pace in paces if pace < duty - 1e-9), None)


def _faster(duty: float, paces: tuple[float, ...]) -> float | None:
    """Return the next pace above *duty*, 1.0 last; None at full speed."""
    return next((pace for pace in (*reversed(paces), 1.0) if pace > duty + 1e-9), None)


def _speed(duty: float) -> str:
    return "full speed" if duty >= 1.0 else f"works {duty:.0%} of the time"
