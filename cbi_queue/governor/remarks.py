"""What is said about a slow-down that no rung helps, and when the calibration probe is asked. Pure.

Neighbours: `attribution` (which found the cause), `ladder` (`WHY` there is no rung for it).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cbi_queue.governor.ladder import RUNGS, WHY
from cbi_queue.governor.scene import SURE
from cbi_queue.governor.values import Action, Cause, Decision

if TYPE_CHECKING:
    from cbi_queue.governor.scene import Scene
    from cbi_queue.governor.values import Attribution

PROBE_ANSWER_S = 60.0
"""Seconds that an asked probe gets to come back before a slow-down is called unexplained."""


def remark(scene: Scene) -> Decision | None:
    """Return a probe or a remark about the slow-down in force; None when there is nothing new to say."""
    found = scene.attribution
    if scene.slowdown is None or found is None:
        return None
    if found.cause is Cause.UNKNOWN or found.confidence < SURE:
        return _probe(scene, found) or _unexplained(scene, found)
    if RUNGS[found.cause]:
        return None
    return _tell(scene, found, f"{_slow_words(scene)}: {_first(found)}. Nothing is done: {WHY[found.cause]}")


def _probe(scene: Scene, found: Attribution) -> Decision | None:
    if not scene.probe_would_help or "probe" not in scene.standing.can or scene.standing.one_shot:
        return None
    memory = scene.memory
    asked = memory.probes_asked if memory.probed_slow_s == scene.slow_since_s else 0
    if not memory.may_say("probe", scene.now_s, scene.thresholds.probe_gap_s * 2.0 ** min(asked, 8)):
        return None
    memory.probe_asked_s, memory.probed_slow_s, memory.probes_asked = scene.now_s, scene.slow_since_s, asked + 1
    words = (
        f"{_slow_words(scene)} and the cause is not clear ({_first(found)}): a probe tells the machine from the model"
    )
    return Decision(scene.now_s, Action.PROBE, found.cause, words, figures=_figures(scene, found))


def _unexplained(scene: Scene, found: Attribution) -> Decision | None:
    if scene.now_s - scene.memory.probe_asked_s < PROBE_ANSWER_S:
        return None
    guess = "" if found.cause is Cause.UNKNOWN else f", perhaps {found.cause.replace('_', ' ')}"
    return _tell(scene, found, f"{_slow_words(scene)} and the cause is not clear{guess}: {_first(found)}. Nothing is done: "
                 f"{WHY[Cause.UNKNOWN]}")  # fmt: skip


def _tell(scene: Scene, found: Attribution, words: str) -> Decision | None:
    if scene.slowdown is None or scene.memory.told_slow_s.get(found.cause) == scene.slowdown.since_s:
        return None
    if not scene.memory.may_say(f"cause: {found.cause}", scene.now_s, scene.thresholds.tell_gap_s):
        return None
    scene.memory.told_slow_s[found.cause] = scene.slowdown.since_s
    return Decision(scene.now_s, Action.TELL, found.cause, words, figures=_figures(scene, found))


def _slow_words(scene: Scene) -> str:
    return f"the work is {scene.factor:.2f} times slower than cold"


def _first(found: Attribution) -> str:
    return found.evidence[0] if found.evidence else "no reading speaks for any cause"


def _figures(scene: Scene, found: Attribution) -> dict[str, float]:
    return {**found.figures, "factor": scene.factor, "confidence": found.confidence}
