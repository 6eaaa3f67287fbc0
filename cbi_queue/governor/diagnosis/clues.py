"""What each measured figure shows for or against each cause of a slow-down. Pure.

A clue has a weight from 0 to 1: how surely it alone points to its cause. A doubt has a factor below 1 by which
everything that points to its cause is multiplied. The weights are judgements, not measurements; `attribution` combines
them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cbi_queue.governor.slowdown.cold_level import FLOOR
from cbi_queue.governor.values import Cause
from cbi_queue.readings.values import HeatLevel, PressureLevel
from cbi_queue.wording import span

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cbi_queue.governor.diagnosis.evidence import Evidence

KEPT_SHARE = 0.9
"""Share of its earlier cores from which a trainer gets what it had."""
QUIET_OTHERS_CORES = 0.3
"""Cores' worth that a quiet desktop uses beside the trainer."""
BUSY_OTHERS_CORES = 0.6
STALLED = 0.2
"""Share of the time in which some task waited for a processor, from which that counts."""
NO_IDLE_SHARE = 0.9
"""Share of the cores in use from which none is idle."""
SLOW_PROBE = FLOOR
"""Probe over its cold time from which the machine is slow."""
NORMAL_PROBE = 1.06
MOSTLY_SLOWER = 0.5
"""Share of a slow-down explained by processor time, or by the probe, from which the processor, or the machine, is slower."""
MOSTLY_WAITING = 0.3
HARDLY_THE_MACHINE = 0.3
"""Share of a slow-down explained by the probe up to which the machine is not the reason."""
TELLING = 0.3
"""Weight of a clue from which what it points to may be the cause."""
NEAR_LIMIT_C = 3.0
SWAPPING_MIB_S = 1.0
"""Writing to swap from which it counts."""
FETCHING = 0.3
"""Share of the added time spent on assembling batches from which that counts."""
LOW_CLOCK = 0.9
"""Share of its earlier clock at which the GPU is slower."""


@dataclass(frozen=True, slots=True)
class Clue:
    """One figure that points to a cause."""

    cause: Cause
    weight: float
    words: str


@dataclass(frozen=True, slots=True)
class Doubt:
    """One figure that speaks against a cause."""

    cause: Cause
    factor: float
    words: str


def clues_in(evidence: Evidence) -> Iterator[Clue]:
    """Yield all that points to a cause."""
    for rule in (_heat, _machine, _memory, _contention, _service_class, _sleep, _data):
        yield from rule(evidence)


def doubts_in(evidence: Evidence) -> Iterator[Doubt]:
    """Yield all that speaks against a cause."""
    probe, others, share = evidence.probe_ratio, evidence.others_cores, evidence.slower_share
    if _waits(evidence) and not _gpu_is_slower(evidence):
        yield Doubt(Cause.HEAT, 0.4, f"the processor itself is not slower: {cpu_words(evidence)}")
    if share is not None and share >= 0.7:
        # 0.7 and no less: another program on the same core slows it, too.
        yield Doubt(Cause.CONTENTION, 0.7, f"the trainer was not kept waiting: {cpu_words(evidence)}")
    if is_not_the_machine(evidence):
        words = f"the calibration probe is as fast as on the cold machine ({probe:.2f} times its cold time)"
        if probe is not None and probe > NORMAL_PROBE:
            words = (
                f"the calibration probe takes only {probe:.2f} times its cold time, {evidence.factor:.2f} times is seen"
            )
        yield from (Doubt(cause, 0.3, words) for cause in (Cause.HEAT, Cause.SERVICE_CLASS))
        yield Doubt(Cause.CONTENTION, 0.5, words)
    if others is not None and others < QUIET_OTHERS_CORES:
        yield Doubt(Cause.CONTENTION, 0.2, f"other programs use only {others:.1f} cores")


def is_not_the_machine(evidence: Evidence) -> bool:
    """Return True when the probe ran at its cold speed, or is slowed by far less than the work."""
    probe, share = evidence.probe_ratio, evidence.machine_share
    return probe is not None and (probe <= NORMAL_PROBE or (share is not None and share <= HARDLY_THE_MACHINE))


def nothing_explains(evidence: Evidence) -> bool:
    """Return True when probe and sensors were read and none of them shows why the work is slow, on a quiet machine."""
    others = evidence.others_cores
    if not is_not_the_machine(evidence) or others is None or others >= QUIET_OTHERS_CORES:
        return False
    seen = (_heat, _memory, _contention, _service_class, _sleep, _data)
    return all(clue.weight < TELLING for rule in seen for clue in rule(evidence))


def cpu_words(evidence: Evidence) -> str:
    """Return the processor time of a sample in words; it must be known."""
    return f"a sample takes {evidence.cpu_ratio:.2f} times its cold processor time"


def _waits(evidence: Evidence) -> bool:
    """Return True when the trainer needs more time but hardly more processor time."""
    return evidence.slower_share is not None and evidence.slower_share <= MOSTLY_WAITING


def _heat(evidence: Evidence) -> Iterator[Clue]:
    if evidence.throttled:
        yield Clue(Cause.HEAT, 0.7, "the hardware reports that it throttled because of heat")
    if evidence.gpu_heat_reasons:
        yield Clue(Cause.HEAT, 0.7, f"the GPU reports that it is throttled: {', '.join(evidence.gpu_heat_reasons)}")
    temp_c, limit_c = evidence.temp_c, evidence.limit_c
    if temp_c is not None and limit_c is not None and temp_c >= limit_c - NEAR_LIMIT_C:
        yield Clue(Cause.HEAT, 0.5, f"the chip is at {temp_c:.0f} °C and throttles at {limit_c:.0f} °C")
    if evidence.heat_level is not None and evidence.heat_level >= HeatLevel.MODERATE:
        weight = 0.5 if evidence.heat_level >= HeatLevel.HEAVY else 0.3
        yield Clue(Cause.HEAT, weight, f"the system reports thermal pressure {evidence.heat_level.name.lower()}")
    if evidence.gpu_clock_ratio is not None and evidence.gpu_clock_ratio <= LOW_CLOCK:
        yield Clue(Cause.HEAT, 0.4, f"the GPU runs at {evidence.gpu_clock_ratio:.0%} of its earlier clock")


def _gpu_is_slower(evidence: Evidence) -> bool:
    clock = evidence.gpu_clock_ratio
    return bool(evidence.gpu_heat_reasons) or (clock is not None and clock <= LOW_CLOCK)


def _machine(evidence: Evidence) -> Iterator[Clue]:
    """Yield what shows that the machine is slower while no other program uses it: usually heat, but not surely."""
    others = evidence.others_cores
    if others is None or others >= QUIET_OTHERS_CORES or evidence.low_power_mode:
        return
    quiet = f"while other programs use only {others:.1f} cores"
    share, probe = evidence.slower_share, evidence.probe_ratio
    if share is not None and share >= MOSTLY_SLOWER:
        yield Clue(Cause.HEAT, 0.45, f"{cpu_words(evidence)}, {quiet}")
    machine_share = evidence.machine_share
    if probe is not None and probe >= SLOW_PROBE and (machine_share is None or machine_share >= MOSTLY_SLOWER):
        yield Clue(Cause.HEAT, 0.4, f"the calibration probe takes {probe:.2f} times its cold time, {quiet}")


def _memory(evidence: Evidence) -> Iterator[Clue]:
    level, stall, swap = evidence.pressure_level, evidence.memory_stall_share, evidence.swap_out_mib_s
    if level is not None and level >= PressureLevel.WARN:
        weight = 0.7 if level >= PressureLevel.CRITICAL else 0.4
        yield Clue(Cause.MEMORY, weight, f"the system reports memory pressure {level.name.lower()}")
    if stall is not None and stall >= 0.1:
        yield Clue(Cause.MEMORY, 0.7 if stall >= 0.3 else 0.5, f"programs waited for memory {stall:.0%} of the time")
    if swap is not None and swap >= SWAPPING_MIB_S:
        yield Clue(Cause.MEMORY, 0.7 if swap >= 10.0 else 0.5, f"{swap:.0f} MiB/s is written to swap")
    growth = evidence.footprint_growth_mib
    if growth is not None and growth >= 1.0:
        yield Clue(Cause.MEMORY, 0.15, f"the trainer grows by {growth:.0f} MiB an epoch")


def _contention(evidence: Evidence) -> Iterator[Clue]:
    others, before = evidence.others_cores, evidence.others_cores_before
    stall, stall_before = evidence.cpu_stall_share, evidence.cpu_stall_share_before
    starved = _is_starved(evidence)
    has_risen = others is not None and others >= BUSY_OTHERS_CORES and others - (before or 0.0) >= QUIET_OTHERS_CORES
    if others is not None and (has_risen or starved):
        was = "" if before is None else f" ({before:.1f} before)"
        of = "" if evidence.cores is None else f" of {evidence.cores}"
        yield Clue(Cause.CONTENTION, 0.6, f"other programs use {others:.1f}{of} cores{was}")
    if stall is not None and stall >= STALLED and (starved or stall - (stall_before or 0.0) >= 0.15):
        yield Clue(Cause.CONTENTION, 0.35, f"programs waited for a processor {stall:.0%} of the time")
    if (has_risen or starved) and _waits(evidence):
        words = f"the trainer waits: a sample takes {evidence.factor:.2f} times its cold time, but only "
        yield Clue(Cause.CONTENTION, 0.4, f"{words}{evidence.cpu_ratio:.2f} times its cold processor time")


def _is_starved(evidence: Evidence) -> bool:
    """Return True when the trainer waits and gets less than it had, while others leave no core idle.

    Then it is they who have its time, however much they used before.
    """
    others, got, had = evidence.others_cores, evidence.trainer_cores, evidence.trainer_cores_before
    if others is None or got is None or had is None or not _waits(evidence):
        return False
    is_full = evidence.cores is not None and others + got >= NO_IDLE_SHARE * evidence.cores
    is_crowded = is_full or (evidence.cpu_stall_share or 0.0) >= STALLED
    return is_crowded and others >= BUSY_OTHERS_CORES and got <= KEPT_SHARE * had


def _service_class(evidence: Evidence) -> Iterator[Clue]:
    if evidence.trainer_stopped:
        yield Clue(Cause.SERVICE_CLASS, 0.7, "the trainer was stopped, and not by this queue")
    if evidence.demoted:
        named = evidence.service_class or "a lower class"
        yield Clue(Cause.SERVICE_CLASS, 0.6, f"the system runs the trainer as {named}, below ordinary programs")
    if evidence.low_power_mode:
        yield Clue(Cause.SERVICE_CLASS, 0.6, "the machine is in low power mode")
    # The trainer waits although no other program wants the processor: the system grants it less.
    others, got, had = evidence.others_cores, evidence.trainer_cores, evidence.trainer_cores_before
    swapping = (evidence.memory_stall_share or 0.0) >= 0.05 or (evidence.swap_out_mib_s or 0.0) >= SWAPPING_MIB_S
    fetching = (evidence.data_growth or 0.0) >= FETCHING or (evidence.slept_s or 0.0) > 1.0
    gets_as_before = got is not None and had is not None and got > KEPT_SHARE * had
    if others is None or others >= QUIET_OTHERS_CORES or swapping or fetching or gets_as_before:
        return
    if _waits(evidence):
        cores = f" ({got:.1f} cores, {had:.1f} before)" if got is not None and had is not None else ""
        words = f"the trainer gets less of the processor{cores}, while other programs use only {others:.1f} cores"
        yield Clue(Cause.SERVICE_CLASS, 0.5, words)


def _sleep(evidence: Evidence) -> Iterator[Clue]:
    slept_s, slow_s = evidence.slept_s, evidence.slow_s
    if slept_s is None or slow_s is None or slept_s < 1.0:
        return
    lost_s = max(slow_s, slept_s) * (1.0 - 1.0 / max(evidence.factor, 1.01))
    words = f"the machine slept or was frozen for {span(slept_s)}"
    yield Clue(Cause.SLEEP, 0.8 if slept_s >= 0.5 * lost_s else 0.3, words)


def _data(evidence: Evidence) -> Iterator[Clue]:
    growth = evidence.data_growth
    if growth is not None and growth >= FETCHING:
        words = f"{growth:.0%} of the added time is spent on assembling batches"
        yield Clue(Cause.DATA, 0.8 if growth >= 0.5 else 0.4, words)
