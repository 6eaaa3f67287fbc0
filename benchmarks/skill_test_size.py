"""`python -m benchmarks skill-test`: how often a drift forecast of a random walk is called different from naive.

There is nothing to find, so a test at 5 % should call it in 5 % of the cases. Measured are both tests of
`jobs.evaluation.significance` alone, and the two together, which is what a board asks for. A round is a walk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.measuring import Line, Target

if TYPE_CHECKING:
    from collections.abc import Sequence

HORIZON_DAYS = (5, 21, 63, 126, 252)
ROWS, TRAINING_ROWS = 504, 2000
NOMINAL = 0.05


def lines(rounds: int) -> list[Line]:
    """Measure *rounds* walks at each horizon."""
    return [line for h in HORIZON_DAYS for line in _lines(h, [_p_values(seed, h) for seed in range(rounds)])]


def _lines(h: int, found: Sequence[tuple[float | None, float | None]]) -> list[Line]:
    called = {
        "bootstrap": [_is_called(p) for p, _ in found],
        "Diebold-Mariano": [_is_called(p) for _, p in found],
        "both": [_is_called(p) and _is_called(q) for p, q in found],
    }
    target = {"both": Target(100 * NOMINAL)}
    note = "the two-sided test at 5 %, 504 rows"
    return [
        Line(f"drift called different from naive, h = {h}, {test}", "%", (_share(calls),), target.get(test), note)
        for test, calls in called.items()
    ]


def _is_called(p_value: float | None) -> bool:
    return p_value is not None and p_value <= NOMINAL


def _share(calls: Sequence[bool]) -> float:
    return 100.0 * sum(calls) / len(calls)


def _p_values(seed: int, h: int) -> tuple[float | None, float | None]:
    import numpy as np

    from jobs.evaluation.significance import skill_test

    walk = 0.01 * np.cumsum(np.random.default_rng(seed).standard_normal(TRAINING_ROWS + ROWS + h))
    rows = np.arange(TRAINING_ROWS, TRAINING_ROWS + ROWS)
    y = walk[rows + h] - walk[rows]
    drift = h * float(np.diff(walk[: TRAINING_ROWS - h]).mean())
    said = skill_test(np.abs(y - drift), np.abs(y), h)
    return said.p_value, said.dm_p_value
