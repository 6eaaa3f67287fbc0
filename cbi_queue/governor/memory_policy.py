"""What is done about memory before the kernel kills: a smaller micro-batch, a pause, an eviction, a fresh process. Pure.

A halving that frees nothing is not taken back while memory is tight (that would take more of what is short); it is
noted for this and later attempts, the next rung follows at once, and the micro-batch grows again when memory has been
calm for long. Neighbours: `pressure` (how tight), `relief` (whose memory it is), `leak` (what grows), `holding` (what
ends a pause), `policy` (the other cause).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cbi_queue.governor.policy import HOLD_MARGIN_S
from cbi_queue.governor.relief import stand_aside, steps_are_used_up, why_no_step
from cbi_queue.governor.slot_memory import Hold
from cbi_queue.governor.strain import Grade
from cbi_queue.governor.values import Action, Cause, Decision
from cbi_queue.governor.wording import span

if TYPE_CHECKING:
    from cbi_queue.governor.leak import Growth
    from cbi_queue.governor.scene import Scene


@dataclass(slots=True)
class Halving:
    """A smaller micro-batch whose help is still to be seen."""

    at_s: float
    footprint_mib: float | None
    grade: Grade | None


class MemoryPolicy:
    """Steps against pressure on memory, for one attempt."""

    def __init__(self, up_wait_s: float, kind: str = "any") -> None:
        """Begin an attempt of a trainer of this *kind* (its fingerprint); *up_wait_s* as in `memory_up_wait_s`."""
        self._kind = kind
        self._first_up_wait_s = up_wait_s
        self._up_wait_s = up_wait_s
        self._last_up_s = float("-inf")
        self._halving: Halving | None = None

    def decide(self, scene: Scene, growth: Growth | None) -> Decision | None:
        """Return the next decision about memory, at most one; None when nothing is to be done."""
        self._look_back(scene)
        return self._relieve(scene) or recycle(scene, growth) or self._up(scene)

    def _look_back(self, scene: Scene) -> None:
        """Once the trainer has had time to obey: did the halving free anything, or ease the pressure?"""
        halving = self._halving
        if halving is None or scene.now_s - halving.at_s < scene.thresholds.memory_dwell_s:
            return
        self._halving = None
        if halving.footprint_mib is None or scene.footprint_mib is None:
            return
        freed = 1.0 - scene.footprint_mib / max(halving.footprint_mib, 1.0)
        eased = scene.pressure.grade is not None and halving.grade is not None and scene.pressure.grade < halving.grade
        no_help = scene.memory.relief.batch_no_help
        if freed < scene.thresholds.freed_share and not eased:
            no_help.add(self._kind)
        else:
            no_help.discard(self._kind)

    def _relieve(self, scene: Scene) -> Decision | None:
        if not self._is_tight(scene):
            return None
        if (why_not := why_no_step(scene)) is not None:
            return _tell(scene, "others", f"{_words(scene)}; {why_not}. Nothing is done")
        if scene.memory.since_step_s(Cause.MEMORY, scene.now_s) < scene.thresholds.memory_dwell_s:
            return None
        no_help = self._kind in scene.memory.relief.batch_no_help
        half = None if no_help else scene.standing.halved(scene.thresholds.min_micro_batch)
        if half is not None and not steps_are_used_up(scene):
            return self._halve(scene, half)
        tried = f"{_steps_words(scene)} are taken" if half is not None else _tried(scene, no_help=no_help)
        if scene.pressure.grade is Grade.SEVERE or scene.pressure.thrashing:
            return _stand_still(scene, tried)
        return _tell(scene, "no rung", f"{_words(scene)}; {tried}, and nothing is being paged that a pause would "
                     f"spare: nothing is done")  # fmt: skip

    @staticmethod
    def _is_tight(scene: Scene) -> bool:
        memory, t = scene.memory, scene.thresholds
        over_s = memory.pressure.lasts_s(Grade.OVER, scene.now_s)
        confirmed = scene.pressure.is_over and over_s >= t.memory_confirm_s
        return confirmed or (scene.is_slow_by(Cause.MEMORY) and scene.pressure.thrashing)

    def _halve(self, scene: Scene, half: int) -> Decision:
        now_s, standing = scene.now_s, scene.standing
        relapsed = now_s - self._last_up_s < self._up_wait_s
        self._up_wait_s = self._up_wait_s * 2 if relapsed else self._first_up_wait_s
        self._halving = Halving(now_s, scene.footprint_mib, scene.pressure.grade)
        words = f"{_words(scene)}: micro-batch {standing.micro_batch} to {half}; the effective batch stays"
        standing.micro_batch = half
        scene.memory.step(Cause.MEMORY, Action.MICRO_BATCH, now_s)
        return Decision(now_s, Action.MICRO_BATCH, Cause.MEMORY, words, half, figures=_figures(scene))

    def _up(self, scene: Scene) -> Decision | None:
        """Double the micro-batch once memory has been calm for long."""
        now_s, standing = scene.now_s, scene.standing
        double = standing.doubled()
        calm_s = scene.memory.pressure.lasts_s(Grade.CLEAR, now_s)
        if double is None or calm_s < self._up_wait_s or now_s - self._last_up_s < self._up_wait_s:
            return None
        if steps_are_used_up(scene):
            return None
        words = f"{scene.pressure.words} for {span(calm_s)}: micro-batch {standing.micro_batch} to {double}"
        standing.micro_batch, self._last_up_s = double, now_s
        scene.memory.step(Cause.MEMORY, Action.MICRO_BATCH, now_s)
        return Decision(now_s, Action.MICRO_BATCH, Cause.MEMORY, words, double, upward=True, figures=_figures(scene))


def recycle(scene: Scene, growth: Growth | None) -> Decision | None:
    """Let the trainer go on in a fresh process when its memory grows towards the limit, not more often than allowed."""
    t, memory, now_s = scene.thresholds, scene.memory, scene.now_s
    if growth is None or growth.epochs_left > t.leak_horizon:
        return None
    words = (
        f"the trainer grows by {growth.mib_per_epoch:.1f} MiB an epoch and would reach {growth.limit_mib:.0f} MiB in "
        f"{max(growth.epochs_left, 0):.0f} epochs"
    )
    if not scene.standing.can_leave:
        return _tell(scene, "leak", f"{words}; it leaves no checkpoint to go on from, so nothing is done")
    if memory.steps_within(Cause.MEMORY, now_s, t.recycle_gap_s, Action.RECYCLE):
        return _tell(scene, "leak again", f"{words}, but a fresh process was started within {span(t.recycle_gap_s)}")
    memory.step(Cause.MEMORY, Action.RECYCLE, now_s)
    figures = _figures(scene) | {"mib_per_epoch": growth.mib_per_epoch, "epochs_left": growth.epochs_left}
    return Decision(now_s, Action.RECYCLE, Cause.MEMORY, f"{words}: it goes on in a fresh process", figures=figures)


def _stand_still(scene: Scene, tried: str) -> Decision | None:
    """Pause; a trainer that was paused for this and grew tight again within the hour is evicted, if it can leave."""
    t, memory, now_s = scene.thresholds, scene.memory, scene.now_s
    paused_before = memory.steps_within(Cause.MEMORY, now_s, action=Action.PAUSE) > 0
    evicted_lately = memory.steps_within(Cause.MEMORY, now_s, t.evict_gap_s, Action.EVICT) > 0
    leave = paused_before and scene.standing.can_leave and not evicted_lately
    action = Action.EVICT if leave else Action.PAUSE
    if memory.steps_within(Cause.MEMORY, now_s, action=action) and steps_are_used_up(scene, spare=1):
        return _tell(scene, "severe", f"{_words(scene)}, and standing aside within the last hour did not end it; "
                     f"{_steps_words(scene)} are taken: the job goes on")  # fmt: skip
    stand_aside(scene)
    memory.trial = None
    memory.hold = Hold(Cause.MEMORY, now_s, now_s + t.pause_max_s, evicted=leave, least=None)
    memory.step(Cause.MEMORY, action, now_s)
    then = (
        "a pause within the last hour did not last: the job makes room, and work stands still"
        if leave
        else "work stands still"
    )
    words = f"{_words(scene)}; {tried}: {then}, {span(t.pause_max_s)} at most"
    return Decision(
        now_s, action, Cause.MEMORY, words, figures=_figures(scene) | {"for_s": t.pause_max_s + HOLD_MARGIN_S}
    )


def _tried(scene: Scene, *, no_help: bool) -> str:
    if no_help:
        return f"a micro-batch of {scene.standing.micro_batch} freed nothing"
    if scene.standing.micro_batch is None or "micro_batch" not in scene.standing.can:
        return "this trainer has no micro-batch to make smaller"
    return f"the micro-batch is already {scene.standing.micro_batch}"


def _steps_words(scene: Scene) -> str:
    return f"the {scene.thresholds.steps_per_hour:g} steps of an hour"


def _words(scene: Scene) -> str:
    held = "" if scene.footprint_mib is None else f" while the trainer holds {scene.footprint_mib:.0f} MiB"
    return f"{scene.pressure.words}{held}"


def _tell(scene: Scene, what: str, words: str) -> Decision | None:
    if not scene.memory.may_say(f"memory: {what}", scene.now_s, scene.thresholds.tell_gap_s):
        return None
    return Decision(scene.now_s, Action.TELL, Cause.MEMORY, words, figures=_figures(scene))


def _figures(scene: Scene) -> dict[str, float]:
    held = {} if scene.footprint_mib is None else {"footprint_mib": round(scene.footprint_mib, 1)}
    return {**scene.pressure.figures, **held}
