"""A reading in words and figures, for people: `heavy, 97 °C`, `5.6 GiB of 24.1 GiB available`. Pure.

A figure that is not known is left out; a reading without any is "nothing".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cbi_queue.readings.values import (
    ContentionReading,
    FootprintReading,
    GpuReading,
    MemoryReading,
    PowerReading,
    SleepReading,
    ThermalReading,
    Unknown,
)
from cbi_queue.wording import counted, memory_size, span

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from cbi_queue.readings.values import Reading


def reading_words(reading: Reading | Unknown) -> str:
    """Return *reading* in words, on one line."""
    if isinstance(reading, Unknown):
        return f"unknown: {reading.why}"
    parts = [part for part in _WORDS[type(reading)](reading) if part]
    return ", ".join(parts) or "nothing"


def _thermal(r: ThermalReading) -> Iterable[str | None]:
    slowed = "slowed by heat now" if r.throttled else "not slowed by heat"
    limit = None if r.limit_c is None else f"slows itself at {r.limit_c:.0f}"
    yield None if r.level is None else r.level.name.lower() + _aside(r, "level")
    yield None if r.temp_c is None else f"{r.temp_c:.0f} °C" + _aside(r, "temp_c", limit)
    yield None if r.throttled is None else slowed + _aside(r, "throttled")


def _aside(r: ThermalReading, figure: str, more: str | None = None) -> str:
    notes = ", ".join(note for note in ("advisory" if figure in r.advisory else None, more) if note)
    return f" ({notes})" if notes else ""


def _memory(r: MemoryReading) -> Iterable[str | None]:
    yield None if r.level is None else f"pressure {r.level.name.lower()}"
    total = "" if r.total_mib is None else f" of {memory_size(r.total_mib)}"
    if r.available_mib is not None:
        yield f"{memory_size(r.available_mib)}{total} available"
    elif total:
        yield f"{total[4:]} in total"
    yield None if r.swap_used_mib is None else f"{memory_size(r.swap_used_mib)} in swap"
    yield None if r.swap_out_mib_s is None else f"{r.swap_out_mib_s:.1f} MiB/s swapped out"
    yield None if r.compressed_mib is None else f"{memory_size(r.compressed_mib)} compressed"
    yield None if r.stall_share is None else f"{r.stall_share:.0%} of the time some task waited for memory"


def _footprint(r: FootprintReading) -> Iterable[str | None]:
    yield f"{memory_size(r.footprint_mib)} in {counted(r.processes, 'process', 'processes')}"
    yield None if r.swapped_mib is None else f"{memory_size(r.swapped_mib)} of it swapped"


def _contention(r: ContentionReading) -> Iterable[str | None]:
    yield f"others use {r.others_cores:.2f} of {r.cores} cores"
    yield None if r.trainer_cores is None else f"the trainer {r.trainer_cores:.2f}"
    yield None if r.stall_share is None else f"{r.stall_share:.0%} of the time some task waited for a core"
    yield "the trainer is stopped" if r.trainer_stopped else None


def _gpu(r: GpuReading) -> Iterable[str | None]:
    ceiling = "" if r.max_clock_mhz is None else f" of {r.max_clock_mhz:.0f}"
    yield None if r.busy_share is None else f"{r.busy_share:.0%} busy"
    yield None if r.clock_mhz is None else f"{r.clock_mhz:.0f}{ceiling} MHz"
    yield None if r.temp_c is None else f"{r.temp_c:.0f} °C"
    yield f"limited by {', '.join(r.throttle_reasons)}" if r.throttle_reasons else None
    total = "" if r.memory_total_mib is None else f" of {memory_size(r.memory_total_mib)}"
    yield None if r.memory_used_mib is None else f"{memory_size(r.memory_used_mib)}{total} used"
    yield f"memory held by {', '.join(r.others)}" if r.others else None


def _power(r: PowerReading) -> Iterable[str | None]:
    yield None if r.low_power_mode is None else f"Low Power Mode {'on' if r.low_power_mode else 'off'}"
    yield r.service_class
    yield "with less processor time than an ordinary foreground process" if r.demoted else None


def _sleep(r: SleepReading) -> Iterable[str | None]:
    yield f"slept {span(r.slept_s)} in total" if r.slept_s > 0 else "has not slept"


_WORDS: dict[type[Reading], Callable[[Any], Iterable[str | None]]] = {
    ThermalReading: _thermal,
    MemoryReading: _memory,
    FootprintReading: _footprint,
    ContentionReading: _contention,
    GpuReading: _gpu,
    PowerReading: _power,
    SleepReading: _sleep,
}
