"""Rolling means, variances, covariances and extremes whose value at a row depends on that window's rows and nothing else.

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
    from collections.abc import Iterator, Sequence


@dataclass(frozen=True, slots=True)
class Moments:
    """Moments of the n rows that end at each row; NaN where the window is not full or contains a gap."""

    n: int
    mean: np.ndarray
    """(series, rows) float64."""
    co: np.ndarray
    """(series + with_first, rows) float64: C_xx of every series, then C_0y of the first with each of the next ones."""


def rolling_moments(values: np.ndarray, with_first: int, windows: Sequence[int]) -> Iterator[Moments]:
    """Yield the moments of every window length, in the order asked for.

    Args:
        values: (series, rows) float64; NaN is a gap.
        with_first: how many series after the first one are set against it.
        windows: lengths in rows, each at least 1.
    """
    # A block of one row has no spread; 0 * value keeps a gap a gap.
    co = np.concatenate([values + values, values[0] + values[1 : 1 + with_first]])
    co *= 0.0
    blocks = [Moments(1, values, co)]
    while 2 * blocks[-1].n <= max(windows, default=1):
        blocks.append(_merge(blocks[-1], blocks[-1]))
    for n in windows:
        # the blocks of n's binary digits, the largest one on the latest rows
        window, *earlier = [block for block in reversed(blocks) if n & block.n]
        for block in earlier:
            window = _merge(window, block)
        yield window


def _merge(late: Moments, early: Moments) -> Moments:
    """Merge the rows of *late* with those of *early* directly before them (Chan, Golub and LeVeque 1979).

    With d = m_early - m_late and n = n_late + n_early:
    m = m_late + d n_early / n and C_xy = C_late + C_early + d_x d_y n_late n_early / n.
    """
    n, k, series = late.n + early.n, late.n, len(late.mean)
    mean, co = np.empty_like(late.mean), np.empty_like(late.co)
    mean[:, :k] = co[:, :k] = np.nan  # no full window; *k* may exceed the rows
    d = early.mean[:, :-k] - late.mean[:, k:]
    new = co[:, k:]
    np.multiply(d, d, out=new[:series])
    np.multiply(d[0], d[1 : 1 + len(co) - series], out=new[series:])
    new *= late.n * early.n / n
    new += late.co[:, k:]
    new += early.co[:, :-k]
    d *= early.n / n
    np.add(late.mean[:, k:], d, out=mean[:, k:])
    return Moments(n, mean, co)


def rolling_extremes(values: np.ndarray, windows: Sequence[int]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the smallest and the largest value of the last n rows for every n of *windows*, which ascend.

    Args:
        values: (series, rows) float64; NaN is a gap, and empties the windows that hold it.
        windows: lengths in rows, each at least 1.
    """
    size, least, most = 1, values, values
    for n in windows:
        while size < n:
            # two blocks that end k rows apart cover size + k rows
            k = min(size, n - size)
            least, most = _pair(np.minimum, least, k), _pair(np.maximum, most, k)
            size += k
        yield least, most


def _pair(of: np.ufunc, values: np.ndarray, k: int) -> np.ndarray:
    """Take *of* each value and the one *k* rows before; NaN where there is none."""
    found = np.empty_like(values)
    found[:, :k] = np.nan
    of(values[:, k:], values[:, :-k], out=found[:, k:])
    return found
