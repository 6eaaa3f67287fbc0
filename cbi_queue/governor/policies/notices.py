"""Slow-downs that no step helps: when the calibration probe is asked for, and what people are told. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cbi_queue.governor.values import Action, Cause, Decision

if TYPE_CHECKING:
    from cbi_queue.governor.policies.situation import Situation
    from cbi_queue.governor.values import Attribution

WHY_NO_STEP: dict[Cause, str] = {
    Cause.CONTENTION: "whatever the trainer gives up, the other programs take, and the job only ends later",
    Cause.SERVICE_CLASS: "the system decides it; only the machine's owner can change that (see `cbi-queue doctor`)",
    Cause.SLEEP: "the time is gone, and the work itself is not slower",
    Cause.DATA: "assembling batches takes the time, and no step makes that faster",
    Cause.UNKNOWN: "a step against an unknown cause is a guess that costs throughput; a later probe may show more",
}
"""Causes against which there is no step -> why."""
PROBE_ANSWER_S = 60.0
"""Seconds that the trainer gets to answer a probe before a slow-down is called unexplained."""


def notice(situation: Situation) -> Decision | None:
    """Return a probe or a notice about the slow-down in force; None when there is nothing new."""
    found = situation.attribution
    if situation.slowdown is None or found is None:
        return None
    if not found.is_sure:
        return _probe(situation, found) or _unexplained(situation, found)
    if found.cause not in WHY_NO_STEP:
        return None
    return _notify(situation, found, f": {_first(found)}. Nothing is done: {WHY_NO_STEP[found.cause]}")


def _probe(situation: Situation, found: Attribution) -> Decision | None:
    if not situation.probe_would_help or "probe" not in situation.controls.can or situation.controls.one_shot:
        return None
    state = situation.state
    asked = state.probes_asked if state.probed_slow_s == situation.slow_since_s else 0
    if not state.may_say("probe", situation.now_s, situation.thresholds.probe_gap_s * 2.0 ** min(asked, 8)):
        return None
    state.probe_asked_s, state.probed_slow_s, state.probes_asked = situation.now_s, situation.slow_since_s, asked + 1
    words = (
        f"{situation.slow_words}, and the cause is not clear ({_first(found)}): a probe shows whether it is the machine"
    )
    return Decision(situation.now_s, Action.PROBE, found.cause, words, figures=_figures(situation, found))


def _unexplained(situation: Situation, found: Attribution) -> Decision | None:
    if situation.now_s - situation.state.probe_asked_s < PROBE_ANSWER_S:
        return None
    guess = "" if found.cause is Cause.UNKNOWN else f", perhaps {found.cause.replace('_', ' ')}"
    why = WHY_NO_STEP[Cause.UNKNOWN]
    return _notify(situation, found, f", and the cause is not clear{guess}: {_first(found)}. Nothing is done: {why}")


def _notify(situation: Situation, found: Attribution, words: str) -> Decision | None:
    told_slow_s, since_s = situation.state.told_slow_s, situation.slow_since_s
    if since_s is None or told_slow_s.get(found.cause) == since_s:
        return None
    words, figures = f"{situation.slow_words}{words}", _figures(situation, found)
    decision = situation.notify(f"cause: {found.cause}", found.cause, words, figures)
    if decision is not None:
        told_slow_s[found.cause] = since_s
    return decision


def _first(found: Attribution) -> str:
    return found.evidence[0] if found.evidence else "no reading points to a cause"


def _figures(situation: Situation, found: Attribution) -> dict[str, float]:
    return {**found.figures, "factor": situation.factor, "confidence": found.confidence}
