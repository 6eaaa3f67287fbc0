"""An ensemble against the best of its members, as the validation block ranks them. Pure arithmetic on arrays."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from jobs.evaluation.significance import skill_test

if TYPE_CHECKING:
    from jobs.data.series import ForecastFrame
    from jobs.ensembles.members import Members
    from jobs.evaluation.splits import Split


def misses(frame: ForecastFrame, rows: np.ndarray, f: np.ndarray) -> np.ndarray:
    """Return the absolute errors of prices on *rows*: (rows,) float64. *f*: (rows of the frame,) forecasts of the label."""
    price, y = frame.price[rows], frame.y[rows]
    return np.asarray(
        np.abs(frame.label.price_from(price, f[rows]) - frame.label.price_from(price, y)), dtype=np.float64
    )


def best_member(frame: ForecastFrame, split: Split, members: Members) -> int:
    """Return the position of the member with the least mean absolute error on the validation block."""
    errors = [misses(frame, split.validation, column).mean() for column in members.f.T]
    return int(np.argmin(errors))


def against_best(frame: ForecastFrame, split: Split, predicted: np.ndarray, members: Members) -> dict[str, Any]:
    """Compare *predicted*, (rows,) f[t], with the best member on the backtest.

    Returns:
        {"name": of that member, "skill": 1 - error / its error, above zero: the ensemble is better}, and the interval and
        p-values of that skill as in `SkillTest`, the Diebold-Mariano test among them; None where too little is known.
    """
    best, rows = best_member(frame, split, members), split.backtest
    own, other = misses(frame, rows, predicted), misses(frame, rows, members.f[:, best])
    total = float(other.sum())
    tested = asdict(skill_test(own, other, frame.horizon_days))
    return {
        "name": members.names[best],
        "skill": 1.0 - float(own.sum()) / total if total > 0 else None,
        "same": bool(np.allclose(own, other)),
        **tested,
    }
