"""What was measured before and during a slow-down, as figures that may be missing. Pure, bounded memory.

`EvidenceWindow` takes work, readings and probes as they come and answers with one `Evidence` for a slow-down. Each
figure is None unless it was really measured: what is unknown speaks for nothing and against nothing.
Neighbours: `readings` (what comes in), `clues` and `attribution` (which weigh it).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import islice, pairwise
from operator import attrgetter
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

from cbi_queue.readings.values import HeatLevel, PressureLevel, Reading

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cbi_queue.governor.values import Baseline, Slowdown, Work
    from cbi_queue.readings.values import Readings

KEPT_READINGS = 256
"""Looks at the sensors that are remembered: four minutes at one a second."""
KEPT_WORK = 128
LATEST = 32
"""Latest looks (and reports) of a slow-down that count: causes change while it lasts."""
LEAST_BUSY_CORES = 0.8
"""Cores below which the trainer's processor time says nothing: an accelerator does the work."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Figures of one slow-down. None: unknown."""

    factor: float
    """Seconds per sample over cold."""
    cores: int | None = None
    others_cores: float | None = None
    """Cores' worth that other programs use, median during."""
    others_cores_before: float | None = None
    trainer_cores: float | None = None
    """Cores' worth that the trainer gets, from its own reports."""
    trainer_cores_before: float | None = None
    cpu_ratio: float | None = None
    """Processor seconds per sample, during over cold."""
    data_growth: float | None = None
    """Share of the added wall time that went into bringing data together."""
    cpu_stall_share: float | None = None
    cpu_stall_share_before: float | None = None
    heat_level: HeatLevel | None = None
    temp_c: float | None = None
    limit_c: float | None = None
    throttled: bool | None = None
    gpu_clock_ratio: float | None = None
    """Clock of the accelerator, during over before."""
    gpu_heat_reasons: tuple[str, ...] = ()
    pressure_level: PressureLevel | None = None
    memory_stall_share: float | None = None
    swap_out_mib_s: float | None = None
    footprint_growth_mib: float | None = None
    """MiB by which the trainer grew per epoch during the slow-down."""
    slept_s: float | None = None
    """Seconds asleep, or without account, since the slow-down began."""
    slow_s: float | None = None
    """Seconds since the slow-down began."""
    low_power_mode: bool | None = None
    service_class: str | None = None
    demoted: bool | None = None
    trainer_stopped: bool | None = None
    probe_ratio: float | None = None
    """Calibration probe during, over the cold one."""

    @property
    def slower_share(self) -> float | None:
        """Share of the slow-down that more processor time explains: 1, the processor is slower; 0, it was waited for."""
        if self.cpu_ratio is None or self.factor <= 1.0:
            return None
        return max(0.0, min(1.0, (self.cpu_ratio - 1.0) / (self.factor - 1.0)))


class _Probe(NamedTuple):
    """The last answer of a calibration probe."""

    at_s: float
    ratio: float | None
    """Its time over the cold one, at least 1; None: no cold one is known."""


@dataclass(frozen=True, slots=True)
class _Before:
    """What came before a slow-down: figures of the sensors, and the work. Worked out once for each slow-down."""

    since_s: float
    work: tuple[Work, ...]
    others_cores: float | None
    cpu_stall_share: float | None
    gpu_clock_mhz: float | None


class EvidenceWindow:
    """Remembers the latest readings, work and probe of one attempt."""

    def __init__(self) -> None:
        """Begin an attempt."""
        self._looks: deque[tuple[float, Readings]] = deque(maxlen=KEPT_READINGS)
        self._work: deque[Work] = deque(maxlen=KEPT_WORK)
        self._probe: _Probe | None = None
        self._before: _Before | None = None

    def saw_readings(self, now_s: float, readings: Readings) -> None:
        """Take in one look at the sensors, stale readings already made `Unknown`."""
        self._looks.append((now_s, readings))

    def saw_work(self, work: Work) -> None:
        """Take in one report."""
        self._work.append(work)

    def saw_probe(self, at_s: float, wall_s: float, cold_s: float | None) -> None:
        """Take in the answer of a calibration probe; one that is faster than the cold one was cold itself.

        Args:
            at_s: boot-clock second at which it ended.
            wall_s: what it took.
            cold_s: what the same workload takes on this device when cold, as earlier probes say; None: not known.
        """
        self._probe = _Probe(at_s, None if cold_s is None else max(1.0, wall_s / cold_s))

    @property
    def probed_at_s(self) -> float | None:
        """Boot-clock second of the last probe; None before the first."""
        return self._probe.at_s if self._probe else None

    def evidence(self, slowdown: Slowdown, cold: Baseline | None = None) -> Evidence:
        """Return what is known of *slowdown*.

        Args:
            slowdown: in force.
            cold: baseline of the micro-batch at hand; stands in where nothing was seen before the slow-down.
        """
        since_s = slowdown.since_s
        before = self._remembered_before(since_s)
        latest = list(islice(reversed(self._looks), LATEST))[::-1]
        during = [readings for at_s, readings in latest if at_s >= since_s]
        work = [one for one in self._work if one.at_s > since_s and not one.disturbed][-LATEST:]
        return Evidence(
            factor=slowdown.factor,
            probe_ratio=self._probe_ratio(since_s),
            slow_s=self._slow_s(since_s),
            slept_s=_slept_s(during, work),
            footprint_growth_mib=_growth_mib(during, work),
            **_contention(during, before),
            **_of_work(work, before.work, cold),
            **_heat(during, before),
            **_memory(during),
            **_power(during),
        )

    def _remembered_before(self, since_s: float) -> _Before:
        """Keep what came before this slow-down for as long as it lasts, though the window moves on."""
        if self._before is None or self._before.since_s != since_s:
            looks = [readings for at_s, readings in self._looks if at_s < since_s]
            self._before = _Before(
                since_s,
                tuple(one for one in self._work if one.at_s <= since_s and not one.disturbed),
                others_cores=_middle(_of(looks, "contention", "others_cores")),
                cpu_stall_share=_middle(_of(looks, "contention", "stall_share")),
                gpu_clock_mhz=_middle(_of(looks, "gpu", "clock_mhz")),
            )
        return self._before

    def _probe_ratio(self, since_s: float) -> float | None:
        return self._probe.ratio if self._probe is not None and self._probe.at_s >= since_s else None

    def _slow_s(self, since_s: float) -> float | None:
        ends = [at_s for at_s, _ in (self._looks or [(since_s, None)])] + [work.at_s for work in self._work]
        return max(0.0, max(ends) - since_s)


def _middle(values: Iterable[float | None]) -> float | None:
    measured = [value for value in values if value is not None]
    return median(measured) if measured else None


def _latest(values: Iterable[object | None]) -> object | None:
    return next((value for value in reversed(list(values)) if value is not None), None)


def _any(values: Iterable[bool | None]) -> bool | None:
    measured = [value for value in values if value is not None]
    return any(measured) if measured else None


def _of(looks: Iterable[Readings], kind: str, field: str) -> list[Any]:
    """Return *field* of every known reading of *kind*."""
    return [getattr(reading, field) for reading in map(attrgetter(kind), looks) if isinstance(reading, Reading)]


def _contention(during: list[Readings], before: _Before) -> dict[str, Any]:
    return {
        "cores": _latest(_of(during, "contention", "cores")),
        "others_cores": _middle(_of(during, "contention", "others_cores")),
        "others_cores_before": before.others_cores,
        "cpu_stall_share": _middle(_of(during, "contention", "stall_share")),
        "cpu_stall_share_before": before.cpu_stall_share,
        "trainer_stopped": _any(_of(during, "contention", "trainer_stopped")),
    }


def _of_work(work: list[Work], before: Iterable[Work], cold: Baseline | None) -> dict[str, Any]:
    before = list(before)
    cpu = _middle(_per_sample(one, one.cpu_s) for one in work)
    same_batch = [one for one in before if work and one.micro_batch == work[-1].micro_batch]
    cpu_cold = cold.cpu_per_sample if cold is not None and cold.cpu_per_sample is not None else None
    if cpu_cold is None:
        cpu_cold = _middle(_per_sample(one, one.cpu_s) for one in same_batch)
    cores_before = _middle(one.cpu_s / one.wall_s if one.cpu_s is not None else None for one in same_batch)
    if cores_before is None and cold is not None and cold.cpu_per_sample is not None:
        cores_before = cold.cpu_per_sample / cold.seconds_per_sample
    tells = cpu is not None and cpu_cold and (cores_before is None or cores_before >= LEAST_BUSY_CORES)
    return {
        "cpu_ratio": cpu / cpu_cold if tells and cpu is not None and cpu_cold else None,
        "trainer_cores": _middle(one.cpu_s / one.wall_s if one.cpu_s is not None else None for one in work),
        "trainer_cores_before": cores_before,
        "data_growth": _data_growth(work, same_batch),
    }


def _per_sample(work: Work, seconds: float | None) -> float | None:
    return None if seconds is None else seconds / work.samples


def _data_growth(work: list[Work], before: list[Work]) -> float | None:
    data, data_before = (_middle(_per_sample(one, one.data_s) for one in part) for part in (work, before))
    wall, wall_before = (_middle(one.seconds_per_sample for one in part) for part in (work, before))
    if data is None or data_before is None or wall is None or wall_before is None or wall <= wall_before:
        return None
    return max(0.0, min(1.0, (data - data_before) / (wall - wall_before)))


def _heat(during: list[Readings], before: _Before) -> dict[str, Any]:
    clock, clock_before = _middle(_of(during, "gpu", "clock_mhz")), before.gpu_clock_mhz
    reasons = {reason for found in _of(during, "gpu", "throttle_reasons") for reason in found or ()}
    return {
        "heat_level": _latest(_of(during, "thermal", "level")),
        "temp_c": _middle(_of(during, "thermal", "temp_c")),
        "limit_c": _latest(_of(during, "thermal", "limit_c")),
        "throttled": _any(_of(during, "thermal", "throttled")),
        "gpu_clock_ratio": clock / clock_before if clock is not None and clock_before else None,
        "gpu_heat_reasons": tuple(sorted(reason for reason in reasons if "thermal" in reason)),
    }


def _memory(during: list[Readings]) -> dict[str, Any]:
    return {
        "pressure_level": _latest(_of(during, "memory", "level")),
        "memory_stall_share": _middle(_of(during, "memory", "stall_share")),
        "swap_out_mib_s": _middle(_of(during, "memory", "swap_out_mib_s")),
    }


def _power(during: list[Readings]) -> dict[str, Any]:
    return {
        "low_power_mode": _latest(_of(during, "power", "low_power_mode")),
        "service_class": _latest(_of(during, "power", "service_class")),
        "demoted": _latest(_of(during, "power", "demoted")),
    }


def _slept_s(during: list[Readings], work: list[Work]) -> float | None:
    """Return seconds asleep during: by the sensor where it is known, else by the gaps in the work."""
    asleep: list[float] = [slept for slept in _of(during, "sleep", "slept_s") if slept is not None]
    gaps_s = sum(one.gap_s for one in work)
    if not asleep and not work:
        return None
    return max(sum(max(0.0, later - earlier) for earlier, later in pairwise(asleep)), gaps_s)


def _growth_mib(during: list[Readings], work: list[Work]) -> float | None:
    sizes: list[float] = [size for size in _of(during, "footprint", "footprint_mib") if size is not None]
    epochs = work[-1].epoch - work[0].epoch if work else 0
    return (sizes[-1] - sizes[0]) / epochs if len(sizes) > 1 and epochs > 0 else None
