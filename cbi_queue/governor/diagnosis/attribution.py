"""Why is the work slow? Combines the clues of a slow-down into one cause, with a confidence and reasons. Pure.

For each cause the clues (weights w) and doubts (factors d) combine to

    belief = (1 - product(1 - w)) * product(d)

and the confidence of the strongest cause is its belief times (1 - half the belief in the next one): two causes that
are equally well supported are no finding. Below `LEAST_BELIEF` the cause is unknown. Nothing measured means unknown;
heat is never assumed for want of another cause.

- A sample takes more processor time, and so does the calibration probe: the machine is slower. That is heat when heat
  shows, or, less surely, when no other program uses the processor; low power mode explains it as well.
- It takes no more processor time, only more wall time: the trainer was kept waiting by other programs, memory, sleep,
  data, or a system that grants it less.
- The probe is as fast as when cold, or slowed by far less than the work: it is this model or its data, not the machine.
"""

from __future__ import annotations

import math
from dataclasses import fields
from typing import TYPE_CHECKING

from cbi_queue.governor.diagnosis.clues import (
    MOSTLY_SLOWER,
    SLOW_PROBE,
    clues_in,
    cpu_words,
    doubts_in,
    is_not_the_machine,
)
from cbi_queue.governor.values import Attribution, Cause

if TYPE_CHECKING:
    from cbi_queue.governor.diagnosis.clues import Clue, Doubt
    from cbi_queue.governor.diagnosis.evidence import Evidence
    from cbi_queue.governor.values import Slowdown

NOT_THE_MACHINE = "it is this model or its data, not the machine"
"""How the evidence begins when the probe is as fast as when cold and no cause is found. Read from stored rows, too."""
LEAST_BELIEF = 0.3
"""Belief below which no cause is named."""
PROBE_WAIT_S = 120.0
"""Seconds between two probes of one slow-down: each takes about a second from the training."""
LEAST_PROBE_WAIT_S = 20.0
"""Seconds between probes of different slow-downs: a machine that flickers must not spend its time on probes."""
LEAST_SUSPICION = 0.4
"""Confidence of a slow-down from which a probe is worth its time."""


def attribute(slowdown: Slowdown, evidence: Evidence) -> Attribution:
    """Return the cause of *slowdown* that *evidence* points to, strongest reasons first."""
    clues = sorted(clues_in(evidence), key=lambda clue: -clue.weight)
    doubts = list(doubts_in(evidence))
    beliefs = {cause: _belief(cause, clues, doubts) for cause in Cause if cause is not Cause.UNKNOWN}
    best, next_best = sorted(beliefs, key=lambda cause: beliefs[cause], reverse=True)[:2]
    named = {field.name: getattr(evidence, field.name) for field in fields(evidence)}
    figures = {name: float(value) for name, value in named.items() if isinstance(value, (int, float))}
    figures["factor"] = slowdown.factor
    if beliefs[best] < LEAST_BELIEF:
        return Attribution(Cause.UNKNOWN, 0.0, _reasons_unknown(clues, doubts, evidence), figures)
    confidence = beliefs[best] * (1.0 - 0.5 * beliefs[next_best])
    reasons = [clue.words for clue in clues if clue.cause is best]
    reasons += [f"but {doubt.words}" for doubt in doubts if doubt.cause is best]
    return Attribution(best, confidence, tuple(reasons), figures)


def wants_probe(slowdown: Slowdown, attribution: Attribution | None, now_s: float, probed_at_s: float | None) -> bool:
    """Return True if a calibration probe would help to find the cause of *slowdown*.

    Args:
        slowdown: in force.
        attribution: what is known of its cause.
        now_s: boot-clock second.
        probed_at_s: boot-clock second of the last probe; None: none in this attempt.
    """
    if (attribution is not None and attribution.is_sure) or slowdown.confidence < LEAST_SUSPICION:
        return False
    if probed_at_s is None:
        return True
    wait_s = LEAST_PROBE_WAIT_S if probed_at_s < slowdown.since_s else PROBE_WAIT_S
    return now_s - probed_at_s >= wait_s


def _belief(cause: Cause, clues: list[Clue], doubts: list[Doubt]) -> float:
    missing = math.prod(1.0 - clue.weight for clue in clues if clue.cause is cause)
    return (1.0 - missing) * math.prod(doubt.factor for doubt in doubts if doubt.cause is cause)


def _reasons_unknown(clues: list[Clue], doubts: list[Doubt], evidence: Evidence) -> tuple[str, ...]:
    probe, share = evidence.probe_ratio, evidence.slower_share
    reasons: list[str] = []
    if probe is not None and (is_not_the_machine(evidence) or probe >= SLOW_PROBE):
        finding = NOT_THE_MACHINE if is_not_the_machine(evidence) else "the machine is slower"
        reasons.append(f"{finding}: the calibration probe takes {probe:.2f} times its cold time")
    if share is not None and share >= MOSTLY_SLOWER:
        reasons.append(cpu_words(evidence))
    reasons += [clue.words for clue in clues] + [doubt.words for doubt in doubts]
    return tuple(dict.fromkeys(reasons)) or ("no measurement shows why",)
