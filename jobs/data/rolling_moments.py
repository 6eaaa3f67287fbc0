"""Rolling means, variances and covariances whose value at a row depends on that window's rows and on nothing else.

The usual rolling sums keep a running total, so the rounding of much earlier rows remains in today's value: a file built
in chunks would differ from one built whole, and a constant window would seem to have a spread. Here each window is a
fixed tree of merges over blocks of 1, 2, 4, 8, … rows: equal rows give equal bits at any position. Pure arithmetic on
arrays; knows no file and no feature.

Letters: n rows of a window, m their mean, C_xy = sum (x - m_x)(y - m_y) over the window, so var_x = C_xx / (n - 1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Moments:
    """Moments of the n rows that end at each row; NaN where the window is not full or contains a gap."""

    n: int
    mean: np.ndarray
    """(series, rows) float64."""
    co: np.ndarray
    """(pairs, rows) float64, C_xy of each pair."""


def rolling_moments(values: np.ndarray, pairs: Sequence[tuple[int, int]], windows: Sequence[int]) -> dict[int, Moments]:
    """Compute the moments of every window length.

    Args:
        values: (series, rows) float64; NaN is a gap.
        pairs: indices (x, y) into the series; (x, x) asks for a variance.
        windows: lengths in rows, each at least 1.

    Returns:
        Window length -> its moments.
    """
    index = np.array(pairs, dtype=np.intp).reshape(-1, 2)
    x, y = index[:, 0], index[:, 1]
    # A block of one row has no spread; 0 * value keeps a gap a gap.
    blocks = {1: Moments(1, values, 0.0 * (values[x] + values[y]))}
    size = 1
    while 2 * size <= max(windows, default=1):
        blocks[2 * size] = _merge(blocks[size], blocks[size], x, y)
        size *= 2
    return {n: _window(n, blocks, x, y) for n in windows}


def _window(n: int, blocks: dict[int, Moments], x: np.ndarray, y: np.ndarray) -> Moments:
    """Merge the blocks of n's binary digits, the largest one on the latest rows."""
    sizes = [size for size in sorted(blocks, reverse=True) if n & size]
    window = blocks[sizes[0]]
    for size in sizes[1:]:
        window = _merge(window, blocks[size], x, y)
    return window


def _merge(late: Moments, early: Moments, x: np.ndarray, y: np.ndarray) -> Moments:
    """Merge the rows of *late* with those of *early* directly before them (Chan, Golub and LeVeque 1979).

    With d = m_early - m_late and n = n_late + n_early:
    m = m_late + d n_early / n and C_xy = C_late + C_early + d_x d_y n_late n_early / n.
    """
    n, k = late.n + early.n, late.n
    d = early.mean[:, :-k] - late.mean[:, k:]
    mean = late.mean[:, k:] + d * (early.n / n)
    co = d[x]
    co *= d[y]
    co *= late.n * early.n / n
    co += late.co[:, k:]
    co += early.co[:, :-k]
    rows = late.mean.shape[1]
    return Moments(n, _at_the_end(mean, rows), _at_the_end(co, rows))


def _at_the_end(values: np.ndarray, rows: int) -> np.ndarray:
    """Extend *values*, (any, up to rows), to *rows*: the first ones have no full window and become NaN."""
    empty = np.full((len(values), rows - values.shape[1]), np.nan)
    return np.concatenate([empty, values], axis=1)
