"""The sweep added up: what never ended, how many steps, and what the weeks and their heat cost beside the other two.

Once over all weeks, then fault by fault. Ratios of hours leave out weeks that one of the two never finished, and ratios
of heat those that are hardly hot; both are counted in the line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.measuring import Line, Target
from benchmarks.simulated_week.sensor import Fault
from benchmarks.simulated_week.weeks import MOST_STEPS, SAME
from cbi_queue.hardware.thresholds import Thresholds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from benchmarks.simulated_week.simulation import Outcome
    from benchmarks.simulated_week.weeks import Compared

HOT_FROM_H = 1.0
"""Hours at heavy without a governor below which a week does not count for heat."""
WORST_SHOWN = 3
_FAULT_WORDS = {
    Fault.NONE: "honest level",
    Fault.SILENT: "level stays nominal",
    Fault.STUCK: "level sticks at heavy",
    Fault.MISSING: "no level",
}


def table(found: Sequence[Compared]) -> list[Line]:
    """Return the lines for all weeks, then for each fault of the sensor."""
    groups = {"all": list(found)}
    groups |= {_FAULT_WORDS[fault]: [one for one in found if one.scenario.sensor.fault is fault] for fault in Fault}
    return [line for name, weeks in groups.items() if weeks for line in _group(name, weeks)]


def _group(name: str, weeks: Sequence[Compared]) -> list[Line]:
    return [_unfinished(name, weeks), _steps(weeks), _no_longer(weeks), *_against_none(weeks), *_against_stock(weeks)]


def _unfinished(name: str, weeks: Sequence[Compared]) -> Line:
    note = ", ".join(
        f"{who} {sum(not one.finished for one in outcomes)}"
        for who, outcomes in (
            ("no governor", [one.none for one in weeks]),
            ("pause-on-level", [one.stock for one in weeks]),
        )
    )
    count = float(sum(not one.ours.finished for one in weeks))
    return Line(f"week-sweep, {name}, {len(weeks)} weeks: never finished, ours", "weeks", (count,), Target(0.0), note)


def _steps(weeks: Sequence[Compared]) -> Line:
    """Return the most steps in any hour of any week; the median of one value is that value."""
    most = max(weeks, key=lambda one: one.ours.most_in_an_hour)
    ours, stock = sorted(one.ours.steps for one in weeks), sorted(one.stock.steps for one in weeks)
    note = (
        f"steps in a week: ours {ours[len(ours) // 2]}, at most {ours[-1]}; pause-on-level {stock[len(stock) // 2]}, "
        f"at most {stock[-1]}, {max(one.stock.most_in_an_hour for one in weeks)} in one hour"
    )
    return Line(
        "  most steps in any hour, ours", "steps", (float(most.ours.most_in_an_hour),), Target(MOST_STEPS), note
    )


def _no_longer(weeks: Sequence[Compared]) -> Line:
    later = [one for one in weeks if not _ends_by(one.ours, one.stock)]
    for_nothing = [one for one in later if one.ours.heavy_h >= one.stock.heavy_h]
    share = 100.0 * (1.0 - len(later) / len(weeks))
    worst = f": {_worst_weeks(for_nothing, _to_stock)}" if for_nothing else ""
    note = f"{len(later)} end later, {len(for_nothing)} of them without fewer hours at heavy{worst}"
    return Line("  share that ends no later than pause-on-level", "%", (share,), None, note)


def _ends_by(one: Outcome, other: Outcome) -> bool:
    return one.finished and (not other.finished or one.hours <= SAME * other.hours)


def _against_none(weeks: Sequence[Compared]) -> list[Line]:
    both = [one for one in weeks if one.none.finished and one.ours.finished]
    hot = [one for one in weeks if one.none.heavy_h >= HOT_FROM_H]
    limit = 1.0 / (1.0 - Thresholds().max_throughput_loss)
    totals = ", ".join(
        f"{who} {sum(hours):.0f}"
        for who, hours in (
            ("no governor", [one.none.heavy_h for one in weeks]),
            ("pause-on-level", [one.stock.heavy_h for one in weeks]),
            ("ours", [one.ours.heavy_h for one in weeks]),
        )
    )
    note = f"{len(hot)} hot weeks; in all, h: {totals}"
    return [
        *_ratios("  hours, ours / no governor", both, _to_none, limit),
        *_ratios("  hours at heavy, ours / no governor", hot, _heat_to_none, None, note),
    ]


def _against_stock(weeks: Sequence[Compared]) -> list[Line]:
    both = [one for one in weeks if one.stock.finished and one.ours.finished]
    return _ratios("  hours, ours / pause-on-level", both, _to_stock, None)


def _ratios(
    what: str, weeks: Sequence[Compared], ratio: Callable[[Compared], float], worst_limit: float | None, note: str = ""
) -> list[Line]:
    if not weeks:
        return []
    values = tuple(ratio(one) for one in weeks)
    worst = Line(
        "    the worst of them",
        "x",
        (max(values),),
        Target(worst_limit) if worst_limit else None,
        _worst_weeks(weeks, ratio),
    )
    return [Line(what, "x", values, None, note or f"{len(weeks)} weeks that both finish"), worst]


def _worst_weeks(weeks: Iterable[Compared], ratio: Callable[[Compared], float]) -> str:
    return "; ".join(
        f"{one.scenario.name}: {ratio(one):.3f} ({one.none.hours:.0f} / {one.stock.hours:.0f} / {one.ours.hours:.0f} h)"
        for one in sorted(weeks, key=ratio, reverse=True)[:WORST_SHOWN]
    )


def _to_none(one: Compared) -> float:
    return one.ours.hours / one.none.hours


def _to_stock(one: Compared) -> float:
    return one.ours.hours / one.stock.hours


def _heat_to_none(one: Compared) -> float:
    return one.ours.heavy_h / one.none.heavy_h
