"""What a model's forecasts depend on: permutation importance by source column. Pure arithmetic on arrays.

The columns that were engineered from one column of the export carry the same news, so they are shuffled together: every
sample gets the values of another one, drawn anew in each repeat. The importance is the share by which the error falls
through the true values, 1 - sum(miss) / sum(miss when shuffled): a skill against oneself without that column, tested
like any other (`significance.skill_test`), and told apart from zero only after Bonferroni's correction for the number of
columns, since of twenty columns of noise one looks important at 5 %. Negative: the shuffled values forecast better.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from jobs.evaluation.significance import skill_test

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

REPEATS = 5
LEVEL = 0.05
"""Chance that any column of a run is called important though none is."""
CALENDAR = "calendar"
"""Name of the group of month and day of the week."""
_CALENDAR_FEATURES = frozenset({"month", "day_of_week"})
_ENGINEERED = re.compile(r"(.+)_(?:ret|mean|std|min|max|mom|z|corr|beta|spread)_\d+")


@dataclass(frozen=True, slots=True)
class Importance:
    """How much the error falls through one source column, as a share of the error without it."""

    column: str
    features: int
    """How many inputs were shuffled together."""
    importance: float
    se_repeats: float
    """Standard error from the draws of the shuffling alone."""
    low: float | None
    high: float | None
    """The 95 % interval from the rows, not corrected; None where there are too few independent ones."""
    p_value: float | None
    told_apart: bool | None
    """Whether it is above zero beyond luck; None where there are too few independent rows to say."""


def source_of(feature: str) -> str:
    """Return the column of the export that a feature was made from: `price_mom_21` -> `price`."""
    if feature in _CALENDAR_FEATURES:
        return CALENDAR
    match = _ENGINEERED.fullmatch(feature)
    return match[1] if match else feature


def by_source(features: Sequence[str]) -> dict[str, list[int]]:
    """Return source column -> positions of its features, in the order of their first."""
    groups: dict[str, list[int]] = {}
    for position, name in enumerate(features):
        groups.setdefault(source_of(name), []).append(position)
    return groups


def permutation_importance(
    predict: Callable[[np.ndarray], np.ndarray],
    inputs: np.ndarray,
    y: np.ndarray,
    groups: Mapping[str, Sequence[int]],
    *,
    horizon_rows: int,
    seed: int,
) -> list[Importance]:
    """Measure the importance of each group of inputs, largest first.

    Args:
        predict: maps (n, ..., F) to (n,) float64, f[t].
        inputs: (n, ..., F), the samples in time order.
        y: (n,) float64, their labels.
        groups: name -> positions on the last axis.
        horizon_rows: samples whose labels overlap, h over the distance of the samples.
        seed: of the draws; the same gives the same numbers.
    """
    miss = np.abs(predict(inputs) - y)  # (n,)
    found = []
    for number, (name, positions) in enumerate(groups.items()):
        rng = np.random.default_rng([seed, number])
        shuffled = inputs.copy()
        misses = np.empty((REPEATS, len(y)))
        for repeat in range(REPEATS):
            shuffled[..., positions] = inputs[rng.permutation(len(y))][..., positions]
            misses[repeat] = np.abs(predict(shuffled) - y)
        found.append(_importance(name, len(positions), miss, misses, horizon_rows, columns=len(groups)))
    return sorted(found, key=lambda each: -each.importance)


def _importance(
    name: str, features: int, miss: np.ndarray, misses: np.ndarray, horizon_rows: int, *, columns: int
) -> Importance:
    without = misses.mean(axis=0)  # (n,)
    importance = _share(miss, without)
    se_repeats = float(np.std([_share(miss, each) for each in misses], ddof=1)) / REPEATS**0.5
    if np.allclose(without, miss, rtol=1e-9, atol=0.0):  # the model does not use it; a mean of equal values may round
        return Importance(
            name, features, importance=0.0, se_repeats=0.0, low=0.0, high=0.0, p_value=1.0, told_apart=False
        )
    tested = skill_test(miss, without, horizon_rows)
    told = None if tested.p_value is None else bool(importance > 0 and tested.p_value <= LEVEL / columns)
    return Importance(
        name,
        features,
        importance=importance,
        se_repeats=se_repeats,
        low=tested.low,
        high=tested.high,
        p_value=tested.p_value,
        told_apart=told,
    )


def _share(miss: np.ndarray, without: np.ndarray) -> float:
    total = float(without.sum())
    return 1.0 - float(miss.sum()) / total if total > 0 else 0.0
