"""The governor's thresholds: one frozen value, every field with unit, allowed range and the reason for its default.

The defaults are those of a Mac Mini M4. A hardware profile overrides them in its `[governor]` table.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from cbi_queue.errors import SettingsError
from cbi_queue.values.words import seen

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Limits:
    """What a threshold may be, and why it is what it is."""

    unit: str
    low: float
    high: float
    why: str


def _threshold(default: Any, unit: str, low: float, high: float, why: str) -> Any:
    return field(default=default, metadata={"limits": Limits(unit, low, high, why)})


@dataclass(frozen=True, slots=True)
class Thresholds:
    """When the governor acts, when it undoes a step, and how long it waits in between."""

    paces: tuple[float, ...] = _threshold(
        (0.8, 0.6, 0.45),
        "share of time",
        0.1,
        0.95,
        "each step cuts power by about a fifth; two fit into an hour; below the lowest, a pause cools faster",
    )
    hot_c: float = _threshold(
        100.0, "°C", 60, 120, "the fan curve of an M-series chip lets the die run at 95 to 100 °C by design"
    )
    cool_c: float = _threshold(92.0, "°C", 40, 115, "well below hot_c, or each step up would be followed by one down")
    severe_c: float = _threshold(
        108.0, "°C", 70, 125, "above what a chip that protects itself ever reaches: its own control has failed"
    )
    below_limit_c: float = _threshold(
        3.0, "°C", 0, 20, "where the chip reports its own limit, hot begins this much below it, not at hot_c"
    )
    above_limit_c: float = _threshold(
        5.0, "°C", 1, 30, "where the chip reports its own limit, severe begins this much above it"
    )
    heat_confirm_s: float = _threshold(
        60.0, "s", 1, 900, "levels change while the work is not slow: one must last this long to count"
    )
    severe_confirm_s: float = _threshold(
        10.0, "s", 0, 120, "a few samples in a row, so that one garbled sample pauses nothing"
    )
    heat_dwell_s: float = _threshold(
        600.0, "s", 2, 7200, "the heat sink needs 325 s (time constant) to show the effect of a step"
    )
    heat_trial_s: float = _threshold(
        600.0, "s", 2, 3600, "two time constants of the heat sink of a free-standing machine, one of a dusty one"
    )
    heat_up_wait_s: float = _threshold(
        900.0, "s", 2, 14400, "seconds clear before a step up; doubles each time the heat returns"
    )
    heat_up_wait_max_s: float = _threshold(
        14400.0, "s", 2, 86400, "the room cools by evening: after some hours a step up is worth trying again"
    )
    helped_gain: float = _threshold(
        0.02, "share", 0, 0.5, "a step must raise the work done per hour by more than the noise of a few reports"
    )
    helped_c: float = _threshold(3.0, "°C", 0.5, 20, "a step must cool the chip by more than its readings fluctuate")
    refuted_s: float = _threshold(
        3600.0, "s", 10, 86400, "a cause whose step did not help is left alone for this long; doubles each time"
    )
    refuted_max_s: float = _threshold(86400.0, "s", 10, 604800, "after a day the machine may have been moved")
    healthy_s: float = _threshold(
        900.0, "s", 2, 14400, "work at its cold cost for this long replaces a sensor that reports nothing"
    )
    pause_min_s: float = _threshold(
        120.0,
        "s",
        1,
        3600,
        "the die cools in seconds, the heat sink in minutes; a shorter pause ends as hot as before",
    )
    pause_max_s: float = _threshold(
        900.0, "s", 5, 7200, "no pause lasts longer: then the lowest pace is tried, whatever the sensors report"
    )
    steps_per_hour: float = _threshold(
        4.0, "steps", 2, 600, "more is oscillation, not control; two are reserved for a pause and its end"
    )
    clear_s: float = _threshold(
        20.0, "s", 0, 600, "a hold is lifted only after this long clear in every check: one good sample is not enough"
    )
    available_floor_share: float = _threshold(
        0.08, "share of memory", 0.01, 0.5, "below it the kernel begins to drop what programs will need again"
    )
    available_critical_share: float = _threshold(
        0.03, "share of memory", 0.005, 0.3, "below it one large allocation is enough to be killed"
    )
    available_clear_share: float = _threshold(
        0.15,
        "share of memory",
        0.02,
        0.9,
        "well above the floor, so that what a step freed does not count as room at once",
    )
    swap_out_mib_s: float = _threshold(
        8.0, "MiB/s", 0.1, 1000, "steady writing to swap: the working set no longer fits; idle swap-out is far less"
    )
    swap_out_clear_mib_s: float = _threshold(0.5, "MiB/s", 0, 100, "the trickle of a system at rest")
    stall_share: float = _threshold(
        0.10,
        "share of time",
        0.01,
        1,
        "tasks wait for memory a tenth of the time: paging slows all work",
    )
    stall_critical_share: float = _threshold(
        0.40, "share of time", 0.02, 1, "most of what is done is paging; out-of-memory killers act near here"
    )
    stall_clear_share: float = _threshold(0.02, "share of time", 0, 0.5, "what a healthy machine shows after a burst")
    memory_confirm_s: float = _threshold(
        6.0, "s", 0, 120, "WARN comes late on macOS, and a trainer was killed 25 s after its start: wait only briefly"
    )
    memory_dwell_s: float = _threshold(
        30.0, "s", 1, 600, "time for a smaller micro-batch to take effect at a safe point and free its memory"
    )
    memory_up_wait_s: float = _threshold(
        1800.0, "s", 2, 86400, "seconds clear before the micro-batch grows again; doubles when the pressure returns"
    )
    freed_share: float = _threshold(
        0.03, "share of footprint", 0, 0.5, "a halving that frees less has not helped: the memory is not the batch's"
    )
    min_micro_batch: float = _threshold(
        1.0, "samples", 1, 1024, "gradients accumulate: also with 1 it is statistically the same training"
    )
    evict_after_s: float = _threshold(
        120.0,
        "s",
        2,
        3600,
        "a paused trainer has freed its caches by then; if memory is still tight, only leaving helps",
    )
    evict_gap_s: float = _threshold(
        1800.0,
        "s",
        5,
        86400,
        "an eviction costs a checkpoint, a start and a first epoch: it must not repeat in a circle",
    )
    leak_reports: float = _threshold(12.0, "reports", 6, 32, "epochs of one micro-batch before a slope is believed")
    leak_horizon: float = _threshold(
        30.0, "epochs", 2, 1000, "far enough ahead to stop at a checkpoint, near enough to be worth it"
    )
    leak_limit_share: float = _threshold(
        0.7, "share of memory", 0.1, 0.95, "the working set an M-series machine grants to its GPU is two thirds of all"
    )
    recycle_gap_s: float = _threshold(
        1800.0,
        "s",
        10,
        86400,
        "a start and a first epoch take a few seconds; every half hour that is well below one per cent",
    )
    max_throughput_loss: float = _threshold(
        0.15,
        "share of a day",
        0,
        0.9,
        "what comfort may cost: a week that a hot room stretches from 118 h to 140 h must still end within its 168 h",
    )
    reading_max_age_s: float = _threshold(
        30.0,
        "s",
        2,
        600,
        "an older reading is Unknown; where sensors are read less often than every 6 s, it is five of those periods",
    )
    tell_gap_s: float = _threshold(1800.0, "s", 5, 86400, "the same notice is not repeated sooner")
    probe_gap_s: float = _threshold(600.0, "s", 5, 86400, "a probe takes about a second from the training")

    def limits_of(self, name: str) -> Limits:
        """Return unit, range and reason of the field called *name*."""
        limits: Limits = next(f for f in fields(self) if f.name == name).metadata["limits"]
        return limits


def thresholds_from(table: Mapping[str, Any], source: str = "the [governor] table") -> Thresholds:
    """Return the defaults with the entries of *table* in their place.

    Args:
        table: threshold name -> number (`paces`: a list of them), as TOML gives it.
        source: where the table is, for the error message.

    Raises:
        SettingsError: for an unknown name, a value that is not a finite number or outside its range, or two thresholds
            whose order would make the governor oscillate (`cool_c` not below `hot_c`).
    """
    known = {one.name: one.metadata["limits"] for one in fields(Thresholds)}
    values: dict[str, Any] = {}
    for name, value in table.items():
        if name not in known:
            raise SettingsError(f"{source}: {name!r} is not a threshold; allowed: {', '.join(known)}")
        limits = known[name]
        values[name] = _paces(value, limits, source) if name == "paces" else _number(name, value, limits, source)
    thresholds = Thresholds(**values)
    _check_order(thresholds, source)
    return thresholds


def _number(name: str, value: Any, limits: Limits, source: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise SettingsError(f"{source}: {name} is {seen(value)}; it must be {_range_words(limits)}")
    if not limits.low <= value <= limits.high:
        raise SettingsError(f"{source}: {name} is {seen(value)} {limits.unit}; it must be {_range_words(limits)}")
    return float(value)


def _paces(value: Any, limits: Limits, source: str) -> tuple[float, ...]:
    if not isinstance(value, list | tuple) or not 1 <= len(value) <= 4:
        raise SettingsError(f"{source}: paces is {seen(value)}; it must be a list of one to four shares of time")
    paces = tuple(_number("paces", each, limits, source) for each in value)
    if any(later >= earlier for earlier, later in pairwise(paces)):
        raise SettingsError(f"{source}: paces is {list(paces)}; each must be below the one before, as [0.8, 0.6, 0.45]")
    return paces


_FALLING = (
    ("severe_c", "hot_c", "cool_c"),
    ("available_clear_share", "available_floor_share", "available_critical_share"),
    ("swap_out_mib_s", "swap_out_clear_mib_s"),
    ("stall_critical_share", "stall_share", "stall_clear_share"),
    ("pause_max_s", "pause_min_s"),
)
"""Thresholds of which each must lie above the next: without the gap between them a step would undo itself."""
_NOT_BELOW = (("heat_up_wait_max_s", "heat_up_wait_s"), ("refuted_max_s", "refuted_s"))
"""Longest wait and first wait of those that double: a longest below the first would make the next wait shorter."""


def _check_order(thresholds: Thresholds, source: str) -> None:
    for names in _FALLING:
        for upper, lower in pairwise(names):
            high, low = getattr(thresholds, upper), getattr(thresholds, lower)
            if high <= low:
                raise SettingsError(f"{source}: {upper} is {high:g} and {lower} {low:g}; {upper} must be the larger")
    for longest, first in _NOT_BELOW:
        high, low = getattr(thresholds, longest), getattr(thresholds, first)
        if high < low:
            raise SettingsError(
                f"{source}: {longest} is {high:g} and {first} {low:g}; {longest} must not be the smaller"
            )


def _range_words(limits: Limits) -> str:
    return f"a number from {limits.low:g} to {limits.high:g} ({limits.unit})"
