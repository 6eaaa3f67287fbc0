"""`python -m benchmarks skill-test`: how often a drift forecast of a random walk is called different from naive.

There is nothing to find, so a test at 5 % should call it in 5 % of the cases. Measured are both tests of
`jobs.evaluation.significance` alone, and the two together, which is what a board asks for, on walks whose daily moves are
normal and on walks of fat tails (Student's t of 4 degrees of freedom, as daily prices have). A drift forecast is in
truth a little worse than naive, so two more counts are held to the nominal rate: how often it is called better, and how
often it is told apart from its opposite, of which neither is better. A test that calls nothing would pass, too: so a
forecast with a real skill is to be seen on the same rows. A round is a walk; no constant was chosen on these walks.

`python -m benchmarks.skill_test_size --markdown docs/forecasting.md` puts the table into the docs.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.measuring import Line, Target
from benchmarks.report import write_markdown

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

HORIZON_DAYS = (5, 21, 63)
"""At 126 and 252 days, 504 rows are too few to say anything."""
KNOWING = {5: 0.4, 21: 0.7, 63: 0.85}
"""Correlation of the skilful forecast with the label: the same skill is harder to see with fewer independent rows."""
TAILS = {"normal": None, "fat-tailed": 4}
"""Degrees of freedom of the daily moves."""
ROWS, TRAINING_ROWS = 504, 2000
NOMINAL = 0.05
SEEDS_FROM = 1_000_000
"""The walks on which the number of cosines was chosen have smaller seeds."""
LEAST_SEEN = 30.0
"""Percent of the skilful forecasts that must be seen."""
COUNTS = "cosines | Diebold-Mariano | both | better | from its opposite"
MARK = "skill test"


class Called(NamedTuple):
    """Whether each test calls one forecast different from naive."""

    cosines: bool
    diebold_mariano: bool
    both: bool
    better: bool
    """Both, and it is the better one."""


def lines(rounds: int) -> list[Line]:
    """Measure *rounds* walks at each horizon."""
    said = []
    targets = {rate: Target(100 * rate + _error(rounds, rate)) for rate in (NOMINAL, NOMINAL / 2)}
    note = f"the two-sided test at 5 %, {ROWS} rows; 95 of 100 such counts are within {_error(rounds):.1f} of it"
    for tails, h in ((tails, h) for tails in TAILS for h in HORIZON_DAYS):
        for test, share in _shares(measured(h, rounds, tails)[0]).items():
            target = targets[NOMINAL / 2] if test == "better" else None
            words = f"drift of a {tails} walk called different from naive, h = {h}, {test}"
            said.append(Line(words, "%", (share,), target, note))
        equals = _shares(measured(h, rounds, tails, opposite=True)[0])["both"]
        words = f"drift of a {tails} walk told apart from its opposite, h = {h}, both"
        said.append(Line(words, "%", (equals,), targets[NOMINAL], note))
    for h in HORIZON_DAYS:
        calls, skill = measured(h, rounds, "normal", KNOWING[h])
        words = f"a real skill of {skill:+.2f} seen by both tests, h = {h}"
        said.append(Line(words, "%", (_shares(calls)["both"],), Target(LEAST_SEEN, at_most=False)))
    return said


def measured(
    h: int, rounds: int, tails: str, knowing: float | None = None, *, opposite: bool = False
) -> tuple[list[Called], float]:
    """Return what is called different on each walk, and the mean skill.

    Args:
        h: days of the horizon.
        rounds: walks.
        tails: of `TAILS`.
        knowing: correlation of the forecast with the label, as large as serves it best; None: the drift forecast.
        opposite: compare with the opposite of the forecast in place of naive.
    """
    import numpy as np

    from jobs.evaluation.significance import skill_test

    calls, skills = [], []
    for seed in range(rounds):
        y, forecast = _case(np.random.default_rng((h, SEEDS_FROM + seed)), h, tails, knowing)
        miss, other_miss = np.abs(y - forecast), np.abs(y + forecast if opposite else y)
        said = skill_test(miss, other_miss, h)
        each = [p is not None and p <= NOMINAL for p in (said.p_value, said.dm_p_value)]
        skills.append(1.0 - float(miss.sum() / other_miss.sum()))
        calls.append(Called(*each, both=all(each), better=all(each) and skills[-1] > 0))
    return calls, float(np.mean(skills))


def _case(rng: np.random.Generator, h: int, tails: str, knowing: float | None) -> tuple[np.ndarray, np.ndarray]:
    """Return labels and forecasts of `ROWS` rows: (rows,) each."""
    import numpy as np

    shape, freedom = (2, TRAINING_ROWS + ROWS + h), TAILS[tails]
    moves = rng.standard_normal(shape) if freedom is None else rng.standard_t(freedom, shape)
    walk, other = 0.01 * np.cumsum(moves, axis=1)
    rows = np.arange(TRAINING_ROWS, TRAINING_ROWS + ROWS)
    y, noise = walk[rows + h] - walk[rows], other[rows + h] - other[rows]
    if knowing is None:
        return y, np.full(ROWS, h * float(np.diff(walk[: TRAINING_ROWS - h]).mean()))
    return y, knowing * (knowing * y + math.sqrt(1.0 - knowing**2) * noise)


def _shares(calls: Sequence[Called]) -> dict[str, float]:
    """Return the percentage that each test calls."""
    names = {"cosines": "cosines", "Diebold-Mariano": "diebold_mariano", "both": "both", "better": "better"}
    return {words: 100.0 * sum(getattr(call, name) for call in calls) / len(calls) for words, name in names.items()}


def _error(rounds: int, rate: float = NOMINAL) -> float:
    """Return the percentage by which 95 of 100 counts of a true *rate* are off at most."""
    return 100.0 * 1.96 * math.sqrt(rate * (1.0 - rate) / rounds)


def as_table(walks: int) -> str:
    """Measure *walks* walks and write a Markdown table, a line a horizon."""
    text = [
        f"{walks:,} walks each, {ROWS} rows; a count of a true 5 % is within {_error(walks):.1f} points in 95 of 100 cases:\n",
        f"| h | {' | '.join(f'{tails}: {COUNTS}' for tails in TAILS)} | a real skill of | seen by both |",
        "|---" * 13 + "|",
    ]
    for h in HORIZON_DAYS:
        noise: list[float] = []
        for tails in TAILS:
            noise += _shares(measured(h, walks, tails)[0]).values()
            noise.append(_shares(measured(h, walks, tails, opposite=True)[0])["both"])
        calls, skill = measured(h, walks, "normal", KNOWING[h])
        cells = [f"{share:.1f} %" for share in noise]
        text.append(f"| {h} | {' | '.join(cells)} | {skill:+.2f} | {_shares(calls)['both']:.0f} % |")
    return "\n".join(text) + "\n"


def main() -> None:
    """Measure, print the table, put it into a file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--walks", type=int, default=2000)
    parser.add_argument("--markdown", type=Path, metavar="FILE", help=f"put the table between its marks ({MARK})")
    options = parser.parse_args()
    table = as_table(options.walks)
    print(table)
    if options.markdown:
        write_markdown(options.markdown, table, MARK)


if __name__ == "__main__":
    main()
