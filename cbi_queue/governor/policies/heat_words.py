"""What every rung of the heat ladder asks and says: whether steps are left, whether it is cool, how hot it was. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cbi_queue.governor.machine.grades import Grade
from cbi_queue.governor.values import Cause
from cbi_queue.wording import span

if TYPE_CHECKING:
    from cbi_queue.governor.policies.situation import Situation
    from cbi_queue.governor.state.state import Trial
    from cbi_queue.governor.values import Decision

SAFETY_STEPS = 2
"""Steps of an hour that comfort leaves alone: a pause near damage, and its end, wait for no count."""
RELAPSE_S = 7200.0
"""Heat that returns within so many seconds of a step up returned because of it: jobs of an hour or two alternate."""


def steps_are_used_up(situation: Situation) -> bool:
    """Return True when the hour has no step left for comfort; without any step in it, one may always be taken."""
    allowed = max(1, situation.thresholds.steps_per_hour - SAFETY_STEPS)
    return situation.state.steps_within(Cause.HEAT, situation.now_s) >= allowed


def why_cool(situation: Situation) -> str | None:
    """Return in words why a step up may be tried now; None when it may not.

    A sensor, or the work where there is none, must have shown no heat for long, and long after the last step.
    """
    t, state, heat = situation.thresholds, situation.state, situation.heat
    if state.since_step_s(Cause.HEAT, situation.now_s) < state.heat_up_wait_s or _may_be_slow_for_heat(situation):
        return None
    if state.heat.lasts_s(Grade.CLEAR, situation.now_s) >= min(state.heat_up_wait_s, t.heat_up_wait_s):
        return heat.words
    if heat.grade is None and situation.healthy_s >= t.healthy_s:
        return f"{heat.words}; the work has run at its cold cost for {span(situation.healthy_s)}"
    return None


def _may_be_slow_for_heat(situation: Situation) -> bool:
    """Return True while the work is slow, unless another cause was found on a machine that is clear."""
    found = situation.attribution
    is_other = found is not None and found.cause is not Cause.HEAT and situation.heat.grade is Grade.CLEAR
    return situation.slowdown is not None and not is_other


def note_relapse(situation: Situation) -> None:
    """Before a step down: double the wait for the next one up when the heat is back soon after the last."""
    t, state = situation.thresholds, situation.state
    relapsed = situation.now_s - state.last_up_s < max(RELAPSE_S, 2 * state.heat_up_wait_s)
    state.heat_up_wait_s = min(2 * state.heat_up_wait_s, t.heat_up_wait_max_s) if relapsed else t.heat_up_wait_s


def was_hot(trial: Trial) -> bool:
    """Return True when heat was read as the trial began."""
    return trial.grade is not None and trial.grade >= Grade.OVER


def cooled(trial: Trial, situation: Situation) -> bool | None:
    """Return whether the heat that asked for the step has fallen; None when it cannot be read now or could not then."""
    if trial.grade is None or situation.heat.grade is None:
        return None
    figures = situation.heat.figures
    if situation.heat.grade < trial.grade or figures.get("heat_level", 9.0) < (trial.level or 0.0):
        return True
    temp_c = figures.get("temp_c")
    return temp_c is not None and trial.temp_c is not None and temp_c <= trial.temp_c - situation.thresholds.helped_c


def did_not_help(situation: Situation, trial: Trial, more_done: float | None) -> str:
    """Return in words what a trial that failed has shown."""
    lasted = span(situation.now_s - trial.at_s)
    if more_done is None and not was_hot(trial):
        return f"could not be judged in {lasted}: how fast the work was before is not known"
    gained = "" if more_done is None else f"{1 + more_done:.0%} as much work got done per hour"
    heat = f"the heat did not fall ({situation.heat.words})" if was_hot(trial) else ""
    return f"did not help in {lasted}: {' and '.join(filter(None, (gained, heat)))}"


def heat_words(situation: Situation) -> str:
    """Return in words how hot it is, and whether the work is slow because of it."""
    if situation.is_slow_for_heat:
        guess = "" if situation.heat.is_over else "probably "
        return f"{situation.slow_words}, {guess}because of heat ({situation.heat.words})"
    return f"{situation.heat.words}, and the work is not slower"


def heat_figures(situation: Situation) -> dict[str, float]:
    """Return the figures of a decision about heat."""
    spent = round(situation.state.spent_share(situation.now_s), 4)
    return {"duty": situation.state.duty, "factor": situation.factor, **situation.heat.figures, "spent_share": spent}


def notify(situation: Situation, key: str, words: str) -> Decision | None:
    """Return a decision that only tells people; None when it was told lately."""
    return situation.notify(f"heat: {key}", Cause.HEAT, words, heat_figures(situation))
