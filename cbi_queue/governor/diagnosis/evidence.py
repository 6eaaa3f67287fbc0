"""What was measured before and during a slow-down, as figures that may be missing. Pure, bounded memory.

`EvidenceWindow` collects work, readings and probes and returns one `Evidence` for a slow-down. A figure is None unless
it was really measured: what is unknown speaks neither for a cause nor against one.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING, Any

from cbi_queue.readings.values import HeatLevel, PressureLevel, Reading

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cbi_queue.governor.values import Baseline, Slowdown, Work
    from cbi_queue.readings.values import Readings

KEPT_READINGS = 256
"""Readings that are kept: four minutes at one a second."""
KEPT_WORK = 128
LATEST = 32
"""Latest readings (and reports) of a slow-down that count: causes change while it lasts."""
LEAST_BEFORE_S = 5.0
"""Seconds of work from which what was read before a slow-down shows how it was then; after less it began slow."""
LEAST_BUSY_CORES = 0.8
"""Cores below which the trainer's processor time shows nothing: an accelerator does the work."""


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
    """Share of the added wall time that was spent on assembling batches."""
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
    """Seconds asleep, or unaccounted for, since the slow-down began."""
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
        """Share of the slow-down that processor time explains: 1, the processor is slower; 0, the trainer waited."""
        if self.cpu_ratio is None or self.factor <= 1.0:
            return None
        return max(0.0, min(1.0, (self.cpu_ratio - 1.0) / (self.factor - 1.0)))

    @property
    def machine_share(self) -> float | None:
        """Share of the slow-down that the probe shows for the machine itself: 1, all of it; 0, it is as fast as cold."""
        if self.probe_ratio is None or self.factor <= 1.0:
            return None
        return max(0.0, min(1.0, (self.probe_ratio - 1.0) / (self.factor - 1.0)))


@dataclass(frozen=True, slots=True)
class _Before:
    """What came before a slow-down. Worked out once for each slow-down."""

    since_s: float
    work: tuple[Work, ...]
    others_cores: float | None
    cpu_stall_share: float | None
    gpu_clock_mhz: float | None


class EvidenceWindow:
    """The latest readings, work and probe of one attempt."""

    def __init__(self) -> None:
        self._readings: deque[tuple[float, Readings]] = deque(maxlen=KEPT_READINGS)
        self._work: deque[Work] = deque(maxlen=KEPT_WORK)
        self._probe_ratio: float | None = None
        self._before: _Before | None = None
        self._first_work: Work | None = None
        self.probed_at_s: float | None = None
        """Boot-clock second of the last probe; None before the first."""

    def add_readings(self, now_s: float, readings: Readings) -> None:
        """Add what all sensors read, stale readings already made `Unknown`."""
        self._readings.append((now_s, readings))

    def add_work(self, work: Work) -> None:
        """Add one report."""
        self._first_work = self._first_work or work
        self._work.append(work)

    def add_probe(self, at_s: float, wall_s: float, cold_s: float | None) -> None:
        """Add the answer of a calibration probe; one that is faster than the cold one was cold itself.

        Args:
            at_s: boot-clock second at which it ended.
            wall_s: what it took.
            cold_s: what the same workload takes on this device when cold, as earlier probes showed; None: not known.
        """
        self.probed_at_s = at_s
        self._probe_ratio = None if cold_s is None else max(1.0, wall_s / cold_s)

    def evidence(self, slowdown: Slowdown, cold: Baseline | None = None) -> Evidence:
        """Return what is known of *slowdown*.

        Args:
            slowdown: in force, or over.
            cold: baseline of the micro-batch in use; used where nothing was seen before the slow-down.
        """
        since_s = slowdown.since_s
        before = self._remembered_before(since_s)
        until_s = self._end_s(slowdown)
        readings_then = [one for one in self._readings if one[0] <= until_s][-LATEST:]
        during = [readings for at_s, readings in readings_then if at_s >= since_s]
        work = [one for one in self._work if since_s < one.at_s <= until_s and not one.disturbed][-LATEST:]
        ends_s = [at_s for at_s, _ in self._readings or [(since_s, None)]] + [one.at_s for one in self._work]
        is_probed = self.probed_at_s is not None and self.probed_at_s >= since_s
        clock = _middle(_of(during, "gpu", "clock_mhz"))
        reasons = {reason for found in _of(during, "gpu", "throttle_reasons") for reason in found}
        return Evidence(
            factor=slowdown.factor,
            cores=_latest(_of(during, "contention", "cores")),
            others_cores=_middle(_of(during, "contention", "others_cores")),
            others_cores_before=before.others_cores,
            cpu_stall_share=_middle(_of(during, "contention", "stall_share")),
            cpu_stall_share_before=before.cpu_stall_share,
            heat_level=_latest(_of(during, "thermal", "level")),
            temp_c=_middle(_of(during, "thermal", "temp_c")),
            limit_c=_latest(_of(during, "thermal", "limit_c")),
            throttled=_any(_of(during, "thermal", "throttled")),
            gpu_clock_ratio=clock / before.gpu_clock_mhz if clock is not None and before.gpu_clock_mhz else None,
            gpu_heat_reasons=tuple(sorted(reason for reason in reasons if "thermal" in reason)),
            pressure_level=_latest(_of(during, "memory", "level")),
            memory_stall_share=_middle(_of(during, "memory", "stall_share")),
            swap_out_mib_s=_middle(_of(during, "memory", "swap_out_mib_s")),
            footprint_growth_mib=_growth_mib(during, work),
            slept_s=_slept_s(during, work),
            slow_s=max(0.0, max(ends_s) - since_s),
            low_power_mode=_latest(_of(during, "power", "low_power_mode")),
            service_class=_latest(_of(during, "power", "service_class")),
            demoted=_latest(_of(during, "power", "demoted")),
            trainer_stopped=_any(_of(during, "contention", "trainer_stopped")),
            probe_ratio=self._probe_ratio if is_probed else None,
            **_of_work(work, before.work, cold),
        )

    def _end_s(self, slowdown: Slowdown) -> float:
        """Return when *slowdown* ended; infinity while it lasts, or when its last report is no longer kept."""
        last = slowdown.ended_epoch
        ends_s = [one.at_s for one in self._work if last is not None and one.epoch <= last]
        return ends_s[-1] if ends_s else float("inf")

    def _began_slow(self, since_s: float) -> bool:
        """Return True when the attempt was slow from its first reports: nothing before them shows a quiet machine."""
        first = self._first_work
        return first is not None and since_s - first.at_s < max(LEAST_BEFORE_S, 2 * first.wall_s)

    def _remembered_before(self, since_s: float) -> _Before:
        """Keep what came before this slow-down for as long as it lasts, though the window moves on."""
        if self._before is None or self._before.since_s != since_s:
            earlier = [readings for at_s, readings in self._readings if at_s < since_s]
            earlier = [] if self._began_slow(since_s) else earlier
            self._before = _Before(
                since_s,
                tuple(one for one in self._work if one.at_s <= since_s and not one.disturbed),
                others_cores=_middle(_of(earlier, "contention", "others_cores")),
                cpu_stall_share=_middle(_of(earlier, "contention", "stall_share")),
                gpu_clock_mhz=_middle(_of(earlier, "gpu", "clock_mhz")),
            )
        return self._before


def _of(seen: Iterable[Readings], kind: str, field: str) -> list[Any]:
    """Return *field* of every known reading of *kind*, where it is known."""
    readings = [getattr(one, kind) for one in seen]
    values = [getattr(reading, field) for reading in readings if isinstance(reading, Reading)]
    return [value for value in values if value is not None]


def _middle(values: Sequence[float]) -> float | None:
    return median(values) if values else None


def _latest(values: Sequence[Any]) -> Any:
    return values[-1] if values else None


def _any(values: Sequence[bool]) -> bool | None:
    return any(values) if values else None


def _of_work(work: Sequence[Work], before: Sequence[Work], cold: Baseline | None) -> dict[str, Any]:
    """Return the figures that reports of work give; *cold* is preferred to what was seen before."""
    same_batch = [one for one in before if work and one.micro_batch == work[-1].micro_batch]
    cpu, cpu_cold, cores_before = _cpu_per_sample(work), _cpu_per_sample(same_batch), _cores(same_batch)
    if cold is not None and cold.cpu_per_sample is not None:
        cpu_cold = cold.cpu_per_sample
        cores_before = cpu_cold / cold.seconds_per_sample if cores_before is None else cores_before
    is_busy = cores_before is None or cores_before >= LEAST_BUSY_CORES
    return {
        "cpu_ratio": cpu / cpu_cold if cpu is not None and cpu_cold and is_busy else None,
        "trainer_cores": _cores(work),
        "trainer_cores_before": cores_before,
        "data_growth": _data_growth(work, same_batch),
    }


def _cpu_per_sample(work: Iterable[Work]) -> float | None:
    return _middle([one.cpu_s / one.samples for one in work if one.cpu_s is not None])


def _cores(work: Iterable[Work]) -> float | None:
    return _middle([one.cpu_s / one.wall_s for one in work if one.cpu_s is not None])


def _data_growth(work: Iterable[Work], before: Iterable[Work]) -> float | None:
    data, data_before = (
        _middle([one.data_s / one.samples for one in part if one.data_s is not None]) for part in (work, before)
    )
    wall, wall_before = (_middle([one.seconds_per_sample for one in part]) for part in (work, before))
    if data is None or data_before is None or wall is None or wall_before is None or wall <= wall_before:
        return None
    return max(0.0, min(1.0, (data - data_before) / (wall - wall_before)))


def _slept_s(during: Iterable[Readings], work: Sequence[Work]) -> float | None:
    """Return seconds asleep during: by the sensor where it is known, or by the gaps in the work, whichever is more."""
    asleep: list[float] = _of(during, "sleep", "slept_s")
    if not asleep and not work:
        return None
    by_sensor_s = sum(max(0.0, later - earlier) for earlier, later in pairwise(asleep))
    return max(by_sensor_s, sum(one.gap_s for one in work))


def _growth_mib(during: Iterable[Readings], work: Sequence[Work]) -> float | None:
    sizes: list[float] = _of(during, "footprint", "footprint_mib")
    epochs = work[-1].epoch - work[0].epoch if work else 0
    return (sizes[-1] - sizes[0]) / epochs if len(sizes) > 1 and epochs > 0 else None
