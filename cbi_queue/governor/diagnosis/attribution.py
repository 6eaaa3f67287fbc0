"""Why is the work slow? Puts the clues of a slow-down together into one cause, with a confidence and reasons. Pure.

For each cause the clues (weights w) and doubts (factors d) combine to

    belief = (1 - product(1 - w)) * product(d)

and the confidence of the strongest cause is its belief times (1 - half the belief in the next one): two causes that
are equally well supported are no finding. Below `LEAST_BELIEF` the cause is unknown. Nothing measured means unknown;
heat is never assumed for want of another cause.

- The processor needs more time a sample, and so does the calibration probe: the machine is slower. That is heat when
  heat shows, or, less surely, when nobody else uses the processor; low power mode explains it as well.
- It needs no more processor time, only more wall time: the trainer was kept waiting, by other programs, memory, sleep,
  data, or a system that grants it less.
- The probe runs as ever: it is this model or its data, not the machine.

Neighbours: `evidence` (what is known), `clues` (what it says), `policy` (what is done about it).
"""

from __future__ import annotations

import math
from dataclasses import fields
from typing import TYPE_CHECKING

from cbi_queue.governor.diagnosis.clues import MOSTLY_SLOWER, NORMAL_PROBE, SLOW_PROBE, clues_in, doubts_in
from cbi_queue.governor.values import Attribution, Cause

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cbi_queue.governor.diagnosis.clues import Clue, Doubt
    from cbi_queue.governor.diagnosis.evidence import Evidence
    from cbi_queue.governor.values import Slowdown

NOT_THE_MACHINE = "it is this model or its data, not the machine"
"""How the evidence begins when the calibration probe runs as ever and no cause is found."""
LEAST_BELIEF = 0.3
"""Belief below which no cause is named."""
PROBE_WAIT_S = 120.0
"""Seconds between two probes of one slow-down: each takes about a second from the training."""
LEAST_PROBE_WAIT_S = 20.0
"""Seconds between probes of different slow-downs: a machine that flickers must not spend its time on probes."""
LEAST_SUSPICION = 0.4
"""Confidence of a slow-down from which a probe is worth its time."""


def attribute(slowdown: Slowdown, evidence: Evidence) -> Attribution:
    """Return the cause of *slowdown* that *evidence* speaks for, strongest reasons first."""
    clues, doubts = list(clues_in(evidence)), list(doubts_in(evidence))
    beliefs = {cause: _belief(cause, clues, doubts) for cause in Cause if cause is not Cause.UNKNOWN}
    best, next_best = sorted(beliefs, key=lambda cause: beliefs[cause], reverse=True)[:2]
    figures = {**_figures(evidence), "factor": slowdown.factor}
    if beliefs[best] < LEAST_BELIEF:
        return Attribution(Cause.UNKNOWN, 0.0, _reasons_unknown(clues, doubts, evidence), figures)
    confidence = beliefs[best] * (1.0 - 0.5 * beliefs[next_best])
    return Attribution(best, confidence, _reasons(best, clues, doubts), figures)


def wants_probe(slowdown: Slowdown, attribution: Attribution | None, now_s: float, probed_at_s: float | None) -> bool:
    """Tell whether a calibration probe would help to find the cause of *slowdown*.

    Args:
        slowdown: in force.
        attribution: what is known of its cause.
        now_s: boot-clock second.
        probed_at_s: boot-clock second of the last probe asked for or answered; None: none in this attempt.
    """
    is_clear = attribution is not None and attribution.is_sure
    if is_clear or slowdown.confidence < LEAST_SUSPICION:
        return False
    if probed_at_s is None:
        return True
    wait_s = LEAST_PROBE_WAIT_S if probed_at_s < slowdown.since_s else PROBE_WAIT_S
    return now_s - probed_at_s >= wait_s


def _belief(cause: Cause, clues: Iterable[Clue], doubts: Iterable[Doubt]) -> float:
    missing = math.prod(1.0 - clue.weight for clue in clues if clue.cause is cause)
    return (1.0 - missing) * math.prod(doubt.factor for doubt in doubts if doubt.cause is cause)


def _reasons(cause: Cause, clues: Iterable[Clue], doubts: Iterable[Doubt]) -> tuple[str, ...]:
    mine = sorted((clue for clue in clues if clue.cause is cause), key=lambda clue: -clue.weight)
    against = [f"but {doubt.words}" for doubt in doubts if doubt.cause is cause]
    return (*(clue.words for clue in mine), *against)


def _reasons_unknown(clues: list[Clue], doubts: list[Doubt], evidence: Evidence) -> tuple[str, ...]:
    probe = evidence.probe_ratio
    said: list[str] = []
    if probe is not None and probe <= NORMAL_PROBE:
        said.append(f"{NOT_THE_MACHINE}: the calibration probe takes {probe:.2f} times its cold time")
    if probe is not None and probe >= SLOW_PROBE:
        said.append(f"the machine is slower: the calibration probe takes {probe:.2f} times its cold time")
    share = evidence.slower_share
    if share is not None and share >= MOSTLY_SLOWER:
        said.append(f"the processor needs {evidence.cpu_ratio:.2f} times the time a sample")
    said.extend(clue.words for clue in sorted(clues, key=lambda clue: -clue.weight))
    said.extend(doubt.words for doubt in doubts)
    return tuple(dict.fromkeys(said)) or ("nothing was measured that says why",)


def _figures(evidence: Evidence) -> dict[str, float]:
    """Return every number and flag that is known; flags as 0 and 1."""
    named = {field.name: getattr(evidence, field.name) for field in fields(evidence)}
    return {name: float(value) for name, value in named.items() if isinstance(value, (int, float))}
