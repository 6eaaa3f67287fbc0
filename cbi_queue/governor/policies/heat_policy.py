"""What is done about heat: pace, look back, go up again when it is clear, and pause only where damage is near. Pure.

Each step is a trial. When it is over, either the work gets done faster for it (pacing counted), or the heat that asked
for it has fallen, or the step is undone and heat is marked as not the cause. Steps are few: a dwell between them, at
most `steps_per_hour`, and a wait before going up that doubles each time the heat comes back.
Neighbours: `ladder` (which rungs), `heat` (how hot), `holding` (what ends a pause), `memory_policy` (the other cause).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from cbi_queue.governor.machine.grades import Grade
from cbi_queue.governor.policies.ladder import faster, slower
from cbi_queue.governor.state.state import Hold, Trial
from cbi_queue.governor.values import Action, Cause, Decision
from cbi_queue.wording import span

if TYPE_CHECKING:
    from cbi_queue.governor.policies.situation import Situation

LEVEL = "heat level"
"""What is refuted when a level does not follow the work."""
HOLD_MARGIN_S = 60.0
"""Seconds by which a hold's own expiry lies after the governor's: only a dead daemon's hold expires by itself."""
SHOWN = 1.03
"""Worked seconds that become quicker by this factor under a pace show that heat is the cause, if not yet the cure."""
KEPT = 2
"""Steps of an hour that comfort leaves alone: a pause where damage is near, and its end, wait for no count."""
RELAPSE_S = 7200.0
"""Heat that is back within so many seconds of a step up came back because of it: jobs of an hour or two alternate."""
RESTED_SHARE = 0.8
"""Comfort is allowed again once this share of the budget is spent, not at once when it falls below the whole."""


def decide_heat(situation: Situation) -> Decision | None:
    """Return the next decision about heat, at most one; None when nothing is to be done."""
    return (
        _pause(situation)
        or _look_back(situation)
        or _let_go_of_comfort(situation)
        or _down(situation)
        or _up(situation)
    )


def _pause(situation: Situation) -> Decision | None:
    """Stand still when damage is near: not for the sake of speed, and not for a level that was caught lying."""
    t, state, now_s = situation.thresholds, situation.state, situation.now_s
    if situation.heat.grade is not Grade.SEVERE or state.heat.lasts_s(Grade.SEVERE, now_s) < t.severe_confirm_s:
        return None
    pauses = state.steps_within(Cause.HEAT, now_s, action=Action.PAUSE)
    if pauses and state.steps_within(Cause.HEAT, now_s) > t.steps_per_hour - KEPT:
        return _tell(situation, "severe", f"{situation.heat.words}, but pausing {pauses} times within the hour did not end it: "
                     f"the job goes on and the chip protects itself")  # fmt: skip
    if situation.controls.can_pace:
        state.duty = state.proven_duty = _pace_after_a_pause(situation)
        state.gains.clear()  # no trial has judged this pace here
    state.trial = None
    state.hold = Hold(Cause.HEAT, now_s, now_s + t.pause_max_s, evicted=False, least=None, least_level=None)
    state.step(Cause.HEAT, Action.PAUSE, now_s)
    words = f"{situation.heat.words}: work stands still until it has cooled, {span(t.pause_max_s)} at most"
    return Decision(
        now_s, Action.PAUSE, Cause.HEAT, words, figures=_figures(situation, for_s=t.pause_max_s + HOLD_MARGIN_S)
    )


def _pace_after_a_pause(situation: Situation) -> float:
    """Return the lowest pace, or one up from the pace in force when pacing has cost its budget.

    Pauses that come every hour leave comfort no step of its own in which to let go of a pace.
    """
    t, state = situation.thresholds, situation.state
    if state.spent_share(situation.now_s) < t.max_throughput_loss:
        return t.paces[-1]
    return faster(state.duty, t.paces) or state.duty


def _look_back(situation: Situation) -> Decision | None:
    """Judge the step on trial once its time is over: keep it, go one further, or undo what did not help."""
    state, trial = situation.state, situation.state.trial
    if trial is not None and not situation.controls.can_pace:
        trial.at_s = (
            situation.now_s
        )  # this trainer works at full speed: the trial begins anew with one that can be paced
        return None
    if trial is None or _steps_are_used_up(situation):
        return None
    lasted_s = situation.now_s - trial.at_s
    rate = _rate_gained(trial, situation.seconds_per_sample)
    if lasted_s < situation.thresholds.heat_trial_s or (
        rate is None and lasted_s < 3 * situation.thresholds.heat_trial_s
    ):
        return None
    quicker = None if rate is None else (1.0 + rate) * trial.duty_before / trial.duty
    if quicker is not None:
        state.gains[trial.duty] = max(1.0, quicker * state.gains.get(trial.duty_before, 1.0))
    cooled = _cooled(trial, situation) if _was_hot(trial) else None
    if cooled or (rate is None and cooled is None) or (rate is not None and rate >= situation.thresholds.helped_gain):
        state.trial, state.proven_duty = None, trial.duty
        return None
    further = slower(trial.duty, situation.thresholds.paces)
    if _was_hot(trial) and further is not None and (quicker or 0.0) >= SHOWN and not _is_overspent(situation):
        return _go_further(situation, trial, further, quicker or 1.0)
    return _undo(situation, trial, rate, quicker)


def _go_further(situation: Situation, trial: Trial, target: float, quicker: float) -> Decision:
    """Try the next pace at once, judged against the same beginning: heat is the cause, this was not yet enough."""
    state, now_s = situation.state, situation.now_s
    state.trial = replace(trial, at_s=now_s, duty=target)
    state.duty = target
    state.step(Cause.HEAT, Action.PACE, now_s)
    words = (
        f"at {trial.duty:.0%} of the time each second of work gets {quicker:.2f} times as much done, so heat is the cause, "
        f"but {situation.heat.words}: works {target:.0%} of the time, on trial for {span(situation.thresholds.heat_trial_s)}"
    )
    return Decision(now_s, Action.PACE, Cause.HEAT, words, target, figures=_figures(situation))


def _rate_gained(trial: Trial, seconds_per_sample: float | None) -> float | None:
    """Return by which share more gets done an hour than before the step, rests counted; None when not known.

    gained = (seconds per sample before / now) * (duty now / before) - 1
    """
    if not trial.seconds_per_sample or not seconds_per_sample:
        return None
    return trial.seconds_per_sample / seconds_per_sample * trial.duty / trial.duty_before - 1.0


def _was_hot(trial: Trial) -> bool:
    return trial.grade is not None and trial.grade >= Grade.OVER


def _cooled(trial: Trial, situation: Situation) -> bool | None:
    """Tell whether the heat that asked for the step has fallen; None when it cannot be read now or could not then."""
    if trial.grade is None or situation.heat.grade is None:
        return None
    figures = situation.heat.figures
    if situation.heat.grade < trial.grade or figures.get("heat_level", 9.0) < (trial.level or 0.0):
        return True
    temp_c = figures.get("temp_c")
    return temp_c is not None and trial.temp_c is not None and temp_c <= trial.temp_c - situation.thresholds.helped_c


def _undo(situation: Situation, trial: Trial, rate: float | None, quicker: float | None) -> Decision:
    """Go back to the last pace that helped (or full speed), and leave the cause alone for a while."""
    state, now_s = situation.state, situation.now_s
    refutation = state.refute(Cause.HEAT, now_s)
    if trial.level is not None and trial.level == situation.heat.figures.get("heat_level") and (quicker or 9.0) < SHOWN:
        state.stuck_level = trial.level
        state.refute(LEVEL, now_s)
    state.trial, state.duty = None, trial.duty_before
    state.step(Cause.HEAT, Action.PACE, now_s)
    gained = "" if rate is None else f"{1 + rate:.0%} of the work of before got done an hour"
    heat = "" if not _was_hot(trial) else f"the heat did not fall ({situation.heat.words})"
    found = " and ".join(part for part in (gained, heat) if part) or "nothing changed"
    words = (
        f"a pace of {trial.duty:g} did not help in {span(now_s - trial.at_s)}: {found}. Taken back; "
        f"heat is not paced against for {span(refutation.until_s - now_s)}"
    )
    return Decision(
        now_s, Action.PACE, Cause.HEAT, words, state.duty, upward=True, undo=True, figures=_figures(situation)
    )


def _down(situation: Situation) -> Decision | None:
    """Take the next pace down when the work is slow for heat, or when it is hot for long; let go where none helps."""
    t, state, now_s = situation.thresholds, situation.state, situation.now_s
    slow = situation.is_slow_by(Cause.HEAT) and not state.is_refuted(Cause.HEAT, now_s, situation.slow_since_s)
    hot_for_s = t.heat_confirm_s if state.duty >= 1.0 else t.heat_trial_s
    hot = situation.heat.is_over and state.heat.lasts_s(Grade.OVER, now_s) >= hot_for_s
    if state.trial is not None or (not slow and (not hot or state.is_refuted(Cause.HEAT, now_s))):
        return None
    if not situation.controls.can_pace:
        return _tell(
            situation, "no rung", f"{_heat_words(situation)}, and this trainer cannot be paced: nothing is done"
        )
    # Without a figure of the slow work from before, nobody could tell whether the step helped.
    cannot_be_judged = not hot and situation.seconds_per_sample is None
    if cannot_be_judged or state.since_step_s(Cause.HEAT, now_s) < t.heat_dwell_s or _steps_are_used_up(situation):
        return None
    target = slower(state.duty, t.paces)
    if target is not None and not _is_overspent(situation):
        return _pace_down(situation, target, slow=slow)
    why_not = f"it already works only {state.duty:.0%} of the time" if target is None else _budget_words(situation)
    if hot and state.duty < 1.0:
        return _give_up(situation, why_not)
    return _tell(situation, "no rung", f"{_heat_words(situation)}, but {why_not}: nothing more is done")


def _give_up(situation: Situation, why_not: str) -> Decision:
    """Go back to full speed when it stays hot at a pace that once helped, and no further pace is to be had."""
    state, now_s = situation.state, situation.now_s
    until = span(state.refute(Cause.HEAT, now_s).until_s - now_s)
    before, state.duty, state.proven_duty = state.duty, 1.0, 1.0
    state.step(Cause.HEAT, Action.PACE, now_s)
    words = (
        f"{situation.heat.words} in spite of a pace of {before:g}, and {why_not}: full speed again, "
        f"heat is not paced against for {until}"
    )
    return Decision(now_s, Action.PACE, Cause.HEAT, words, 1.0, upward=True, undo=True, figures=_figures(situation))


def _pace_down(situation: Situation, target: float, *, slow: bool) -> Decision:
    state, now_s, figures = situation.state, situation.now_s, situation.heat.figures
    _lengthen_wait_after_relapse(situation)
    state.trial = Trial(
        now_s, state.duty, target, slow, situation.seconds_per_sample, situation.heat.grade,
        figures.get("heat_level"), figures.get("temp_c"),
    )  # fmt: skip
    state.duty = target
    state.step(Cause.HEAT, Action.PACE, now_s)
    words = f"{_heat_words(situation)}: works {target:.0%} of the time, on trial for {span(situation.thresholds.heat_trial_s)}"
    return Decision(now_s, Action.PACE, Cause.HEAT, words, target, figures=_figures(situation))


def _lengthen_wait_after_relapse(situation: Situation) -> None:
    """Wait twice as long before the next step up when the last one brought the heat back, else as long as at first."""
    t, state = situation.thresholds, situation.state
    relapsed = situation.now_s - state.last_up_s < max(RELAPSE_S, 2 * state.heat_up_wait_s)
    state.heat_up_wait_s = min(2 * state.heat_up_wait_s, t.heat_up_wait_max_s) if relapsed else t.heat_up_wait_s


def _up(situation: Situation) -> Decision | None:
    """Take one pace up when it is clear, or when the work itself shows that it is and no sensor says otherwise."""
    t, state, now_s = situation.thresholds, situation.state, situation.now_s
    target = faster(state.duty, t.paces) if situation.controls.can_pace else None
    if target is None or state.trial is not None or _steps_are_used_up(situation):
        return None
    if situation.slowdown is not None and not _is_known_not_to_be_heat(situation):
        return None
    wait_s = state.heat_up_wait_s
    if state.since_step_s(Cause.HEAT, now_s) < wait_s:
        return None
    clear = state.heat.lasts_s(Grade.CLEAR, now_s) >= min(wait_s, t.heat_up_wait_s)
    blind = situation.heat.grade is None and situation.healthy_s >= t.healthy_s
    if not clear and not blind:
        return None
    why = (
        situation.heat.words
        if clear
        else f"{situation.heat.words}; the work has had its cold cost for {span(situation.healthy_s)}"
    )
    state.last_up_s = now_s
    return _pace_up(situation, target, f"{why}: {_speed_words(target)} again")


def _is_known_not_to_be_heat(situation: Situation) -> bool:
    """Tell whether slow work was looked into and is not slow for heat, on a machine that is clear."""
    found = situation.attribution
    return found is not None and found.cause is not Cause.HEAT and situation.heat.grade is Grade.CLEAR


def _let_go_of_comfort(situation: Situation) -> Decision | None:
    """Take one pace up when pacing has cost more than its budget: it is for comfort, and may not cost more unsaid."""
    t, state, now_s = situation.thresholds, situation.state, situation.now_s
    target = faster(state.duty, t.paces) if situation.controls.can_pace else None
    if target is None or state.trial is not None or situation.heat.grade is Grade.SEVERE:
        return None
    if state.since_step_s(Cause.HEAT, now_s) < t.heat_dwell_s or _steps_are_used_up(situation):
        return None
    if state.spent_share(now_s) < t.max_throughput_loss:
        return None
    return _pace_up(situation, target, f"{_budget_words(situation)}: {_speed_words(target)} ({situation.heat.words})")


def _pace_up(situation: Situation, target: float, words: str) -> Decision:
    state, now_s = situation.state, situation.now_s
    state.duty = state.proven_duty = target
    state.step(Cause.HEAT, Action.PACE, now_s)
    return Decision(now_s, Action.PACE, Cause.HEAT, words, target, upward=True, figures=_figures(situation))


def _budget_words(situation: Situation) -> str:
    spent, allowed = situation.state.spent_share(situation.now_s), situation.thresholds.max_throughput_loss
    return f"pacing and pauses cost {spent:.0%} of the last day's work and {allowed:.0%} are allowed"


def _is_overspent(situation: Situation) -> bool:
    return situation.state.spent_share(situation.now_s) >= RESTED_SHARE * situation.thresholds.max_throughput_loss


def _steps_are_used_up(situation: Situation) -> bool:
    """Tell whether the hour has no step left for comfort; without any step in it, one may always be taken."""
    return situation.state.steps_within(Cause.HEAT, situation.now_s) >= max(
        1, situation.thresholds.steps_per_hour - KEPT
    )


def _tell(situation: Situation, what: str, words: str) -> Decision | None:
    if not situation.state.may_say(f"heat: {what}", situation.now_s, situation.thresholds.tell_gap_s):
        return None
    return Decision(situation.now_s, Action.TELL, Cause.HEAT, words, figures=_figures(situation))


def _heat_words(situation: Situation) -> str:
    if situation.is_slow_by(Cause.HEAT):
        return f"the work is {situation.factor:.2f} times slower than cold, by heat ({situation.heat.words})"
    return f"{situation.heat.words}, and the work is not slow for it"


def _speed_words(duty: float) -> str:
    return "full speed" if duty >= 1.0 else f"works {duty:.0%} of the time"


def _figures(situation: Situation, **more: float) -> dict[str, float]:
    figures = {"duty": situation.state.duty, "factor": situation.factor, **situation.heat.figures, **more}
    return figures | {"spent_share": round(situation.state.spent_share(situation.now_s), 4)}
