"""What each model costs, from queues that really ran: the table of `cbi_queue.models.first_costs`.

    python -m benchmarks.first_costs STATE_DIR [STATE_DIR ...]

Every run is set against the runs around it: the machine's pace is the running median of what was left unexplained.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections import defaultdict
from pathlib import Path
from statistics import geometric_mean, median
from typing import TYPE_CHECKING

from cbi_queue.ledger import Ledger
from cbi_queue.ledger.durations import Works, ended_attempts
from cbi_queue.lifecycle import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from cbi_queue.ledger.durations import EndedAttempt

ROUNDS, AROUND = 6, 8
"""How often costs and paces are taken in turn; runs on either side that tell the pace of one."""
QUIET = 0.1
"""The pace that is called usual: a tenth of all runs were quicker."""
LEAST_FIT_S = 0.02


def first_costs(recordings: Iterable[Sequence[EndedAttempt]]) -> dict[str, tuple[float, float]]:
    """Return model -> seconds besides fitting, and seconds for one unit of size and length, on the quiet machine."""
    queues = [[a for a in attempts if a.outcome is Outcome.SUCCESS and a.seconds > 0] for attempts in recordings]
    paces = [[0.0] * len(attempts) for attempts in queues]
    found: dict[str, tuple[float, float]] = {}
    for _ in range(ROUNDS):
        found = _costs(queues, paces)
        for attempts, pace in zip(queues, paces, strict=True):
            left = [math.log(a.seconds / _said(found[a.work.model], a)) for a in attempts]
            pace[:] = [median(left[max(0, at - AROUND) : at + AROUND + 1]) for at in range(len(left))]
    every = sorted(pace for queue in paces for pace in queue)
    quiet = math.exp(every[int(QUIET * (len(every) - 1))]) if every else 1.0
    return {model: (start * quiet, unit * quiet) for model, (start, unit) in found.items()}


def _said(cost: tuple[float, float], attempt: EndedAttempt) -> float:
    return cost[0] + cost[1] * _units(attempt)


def _units(attempt: EndedAttempt) -> float:
    used = attempt.work.length if attempt.used is None else min(attempt.used, attempt.work.length)
    return attempt.work.size * used


def _costs(
    queues: Sequence[Sequence[EndedAttempt]], paces: Sequence[Sequence[float]]
) -> dict[str, tuple[float, float]]:
    starts: defaultdict[str, list[float]] = defaultdict(list)
    units: defaultdict[str, defaultdict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for attempts, pace in zip(queues, paces, strict=True):
        for attempt, slower in zip(attempts, pace, strict=True):
            fit_s = min(attempt.fit_s, 0.95 * attempt.seconds)
            starts[attempt.work.model].append((attempt.seconds - fit_s) / math.exp(slower))
            if fit_s > LEAST_FIT_S:
                units[attempt.work.model][attempt.work.recipe].append(fit_s / math.exp(slower) / _units(attempt))
    return {
        model: (median(each), geometric_mean(map(median, units[model].values())) if units[model] else 0.0)
        for model, each in starts.items()
    }


def attempts_of(state_dir: Path) -> list[EndedAttempt]:
    """Read the ended attempts of an installation."""
    with Ledger.open_readonly(state_dir / "ledger.db") as ledger, ledger.snapshot():
        return ended_attempts(ledger, Works())


def as_code(costs: Mapping[str, tuple[float, float]]) -> str:
    """Return the lines of the table."""
    return "\n".join(f'    "{model}": ({start:.3g}, {unit:.2g}),' for model, (start, unit) in sorted(costs.items()))


def main() -> int:
    """Print the table that the state folders named on the command line give."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.first_costs", description=__doc__)
    parser.add_argument("state_dirs", nargs="+", type=Path, metavar="STATE_DIR", help="folder with a ledger")
    print(as_code(first_costs([attempts_of(folder) for folder in parser.parse_args().state_dirs])))
    return 0


if __name__ == "__main__":
    sys.exit(main())
