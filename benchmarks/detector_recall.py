"""What the slow-down detector finds, how soon, and how often it is wrong: on recorded and on made-up slow-downs.

`python -m benchmarks detector` prints the scores; `python -m benchmarks.detector_recall` prints, besides, how the
score moves with each setting, what leaving traces out would have chosen, and a table of made-up slow-downs: quiet
epochs of the recorded traces, drawn in blocks so that the machine's own bursts stay in, scaled in time, and
multiplied. Seeded: the same table every time.
"""

from __future__ import annotations

import random
import sys
from collections import Counter, defaultdict
from dataclasses import replace
from itertools import product
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.measuring import Line, Target
from benchmarks.trace_scores import Labelled, Score, labelled, score
from cbi_queue.governor.slowdown.detector import Detector, DetectorSettings
from cbi_queue.governor.values import Work
from cbi_queue.replay.replay import read_traces, replay, replay_one

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cbi_queue.replay.replay import Alarm
    from cbi_queue.replay.traces import Trace

TRACES = Path(__file__).parents[1] / "tests" / "traces"
NEIGHBOURS: dict[str, tuple[float, ...]] = {
    "floor": (1.10, 1.14),
    "full": (1.17, 1.25),
    "spreads": (2.0, 3.0),
    "alarm_votes": (2.0, 3.0),
    "alarm_s": (0.5, 0.6, 0.8),
    "lost_s": (0.09, 0.10, 0.12, 0.13),
    "steady_bins": (3, 5),
    "steady_range": (0.0, 0.06, 0.1),
    "steady_s": (0.3, 0.5),
    "steady_lost_s": (0.06, 0.1),
    "lost_cap": (1.4, 1.65, 1.8),
    "burst_gain": (1.0, 1.4, 1.6, 2.0),
    "burst_fade": (0.99, 0.999),
    "quiet_votes": (3.0, 5.0),
    "bin_s": (0.02, 0.1),
}
"""Setting -> values to try around the default."""
FACTORS, ROUNDS = (1.2, 1.3, 1.5, 2.0), 40
LENGTHS: dict[float, tuple[int, ...]] = {0.1: (100, 200, 500), 1.0: (5, 10, 20, 50), 30.0: (5, 10, 20, 50)}
"""Time scale -> epochs that a made-up slow-down lasts. At 0.1 an epoch takes about 8 ms, at 30 some 3 s."""
LATE_EPOCHS, LATE_S = 3, 1.0
"""Delay beyond which a slow-down was found late: epochs, and seconds where epochs last milliseconds."""
BLOCK, LEAD, TAIL = 20, 120, 40
SETTLING = 3
SEED = 7


def lines(_rounds: int) -> list[Line]:
    """Score the recorded traces, all together and each alone."""
    traces, labels = _recorded()
    together, alone = _score(traces, labels), _score(traces, labels, alone=True)
    return [line for how, found in (("together", together), ("alone", alone)) for line in _lines(how, found)]


def _lines(how: str, found: Score) -> list[Line]:
    recall = f"{found.found} of {found.slowdowns}"
    delays_s = ", ".join(f"{delay:.2f}" for delay in sorted(found.delays_s))
    false = f"{found.false_alarms} in {found.quiet_epochs}"
    return [
        Line(f"slow-downs found, traces {how}", "", (found.recall,), Target(0.95, at_most=False), recall),
        Line(
            f"delay, traces {how}",
            "epochs",
            (median(found.delays),),
            Target(float(LATE_EPOCHS)),
            f"{sorted(found.delays)}",
        ),
        Line(f"delay, feed-forward, traces {how}", "s", (median(found.delays_s),), Target(LATE_S), delays_s),
        Line(f"false alarms per 1,000 quiet epochs, traces {how}", "", (found.false_per_1000,), Target(1.0), false),
    ]


def _recorded() -> tuple[list[Trace], list[Labelled]]:
    paths = sorted(TRACES.glob("*.jsonl"))
    return read_traces(paths), [labelled(path) for path in paths]


def _alarms(traces: Sequence[Trace], settings: DetectorSettings | None, *, alone: bool) -> list[Alarm]:
    replays = [replay_one(one, {}, settings) for one in traces] if alone else replay(traces, (), settings)
    return [alarm for one in replays for alarm in one.alarms]


def _score(
    traces: Sequence[Trace],
    labels: Sequence[Labelled],
    settings: DetectorSettings | None = None,
    *,
    alone: bool = False,
) -> Score:
    return score(labels, _alarms(traces, settings, alone=alone))


def _words(found: Score) -> str:
    delay_s = f"{median(found.delays_s):.2f} s" if found.delays_s else "-"
    late = sum(delay > LATE_EPOCHS for delay in found.delays)
    return (
        f"{found.found}/{found.slowdowns} found, delay {median(found.delays):.1f} epochs ({late} late), ff {delay_s}, "
        f"{found.false_alarms} false ({found.false_per_1000:.2f} per 1,000)"
    )


def print_neighbours(traces: Sequence[Trace], labels: Sequence[Labelled]) -> None:
    """Print the score for each setting moved a little, the others at their default."""
    default = DetectorSettings()
    print(f"\nNeighbours of the settings (traces together | alone); default: {_words(_score(traces, labels))}")
    for name, values in NEIGHBOURS.items():
        for value in values:
            moved = replace(default, **{name: value})
            both = (_words(_score(traces, labels, moved, alone=alone)) for alone in (False, True))
            print(f"  {name} {getattr(default, name):g} -> {value:g}: {' | '.join(both)}")


def _loss(found: Score) -> float:
    """Weigh a score as the targets do: a miss costs most, then a false alarm, then each slow-down found late."""
    late = sum(delay > LATE_EPOCHS for delay in found.delays) + sum(delay_s > LATE_S for delay_s in found.delays_s)
    return 5.0 * (found.slowdowns - found.found) + found.false_alarms + 0.5 * late


def print_cross_validation(traces: Sequence[Trace], labels: Sequence[Labelled]) -> None:
    """Leave each trace out in turn: choose the settings on all others, score them on that one, and print the sum."""
    candidates = [
        replace(DetectorSettings(), alarm_s=alarm_s, steady_range=steady_range, steady_lost_s=lost_s)
        for alarm_s, steady_range, lost_s in product((0.6, 0.7), (0.0, 0.04, 0.06, 0.08, 0.10), (0.06, 0.08, 0.10))
    ]
    by_trace = [
        [score([label], [a for a in alarms if a.trace == label.name]) for label in labels]
        for alarms in (_alarms(traces, candidate, alone=True) for candidate in candidates)
    ]
    held_out, picks = Score(), Counter[str]()
    for left_out in range(len(labels)):
        losses = [_loss(_sum([s for i, s in enumerate(scores) if i != left_out])) for scores in by_trace]
        number = min(range(len(candidates)), key=losses.__getitem__)
        pick = candidates[number]
        picks[f"alarm_s {pick.alarm_s} steady_range {pick.steady_range} steady_lost_s {pick.steady_lost_s}"] += 1
        held_out = _sum([held_out, by_trace[number][left_out]])
    print(f"\nLeave one out, {len(candidates)} settings, scored on traces that did not choose: {_words(held_out)}")
    for words, times in picks.most_common():
        print(f"  chosen {times} times: {words}")


def _sum(scores: Sequence[Score]) -> Score:
    total = Score()
    for one in scores:
        total.slowdowns += one.slowdowns
        total.found += one.found
        total.delays += one.delays
        total.delays_s += one.delays_s
        total.false_alarms += one.false_alarms
        total.quiet_epochs += one.quiet_epochs
    return total


def print_made_up() -> None:
    """Print recall and delay of made-up slow-downs, by time scale, factor and length, and the false alarms before."""
    chance = random.Random(SEED)
    pools = _quiet_pools()
    for scale, lengths in LENGTHS.items():
        quiet, false = 0, 0
        print(f"\nMade-up slow-downs, time scale {scale:g} (found of {ROUNDS}, median delay in epochs / seconds)")
        for factor, length in product(FACTORS, lengths):
            results = [_one_made_up(chance, chance.choice(pools), scale, factor, length) for _ in range(ROUNDS)]
            quiet += LEAD * ROUNDS
            false += sum(early for _, early in results)
            hits = [hit for hit, _ in results if hit is not None]
            delay = f"{median(h[0] for h in hits):.0f} / {median(h[1] for h in hits):.2f} s" if hits else "-"
            print(f"  factor {factor:g} for {length:3} epochs: {len(hits):2}  {delay}")
        print(f"  false alarms before: {false} in {quiet} quiet epochs")


def _quiet_pools() -> list[list[float]]:
    """Return seconds per sample of the quiet epochs of each trace and micro-batch that has enough of them."""
    pools: dict[tuple[str, int], list[float]] = defaultdict(list)
    for trace in _recorded()[1]:
        for epoch in trace.epochs[SETTLING:]:
            if epoch["slow"] == 0:
                pools[trace.name, epoch["micro_batch"]].append(epoch["wall_s"] / epoch["samples"])
    return [pool for pool in pools.values() if len(pool) >= 2 * BLOCK]


def _one_made_up(
    chance: random.Random, pool: list[float], scale: float, factor: float, length: int
) -> tuple[tuple[int, float] | None, int]:
    """Return delay in epochs and seconds of the first alarm inside, None when there was none; and alarms before."""
    samples = 1200
    detector, at_s, begun_s, early = Detector(), 0.0, 0.0, 0
    costs: list[float] = []
    while len(costs) < LEAD + length + TAIL:
        start = chance.randrange(len(pool) - BLOCK)
        costs += pool[start : start + BLOCK]
    seen = None
    for epoch, cost in enumerate(costs[: LEAD + length + TAIL]):
        inside = LEAD <= epoch < LEAD + length
        begun_s = at_s if epoch == LEAD else begun_s
        wall_s = cost * samples * scale * (factor if inside else 1.0)
        at_s += wall_s
        current = detector.observe(Work(epoch, at_s, wall_s, samples, 32))
        if current is not None and current != seen and current.detected_epoch == epoch:
            if epoch < LEAD:
                early += 1
            elif inside:
                return (epoch - LEAD, at_s - begun_s), early
        seen = current
    return None, early


def main() -> int:
    """Print everything."""
    traces, labels = _recorded()
    for how, alone in (("together", False), ("each alone", True)):
        print(f"traces {how}: {_words(_score(traces, labels, alone=alone))}")
    print_neighbours(traces, labels)
    print_cross_validation(traces, labels)
    print_made_up()
    return 0


if __name__ == "__main__":
    sys.exit(main())
