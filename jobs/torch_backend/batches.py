"""Which samples form which step, and how their windows are gathered: permutation, batches, index. No model.

The data stays on its device as one (rows, features) tensor; a sample is a row number t and its window the rows
t-L+1 … t. Nothing is materialised beyond the current batch (all windows of 4,754 rows x 256 steps x 152 features would
be 740 MB) and there is no loader. Randomness is a function of (seed, epoch, step) and never of what came before, so
that a run that starts anywhere draws the same.

Letters: n samples of a batch, L the sequence length in rows, F features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from jobs.training.checkpoint import digest_of
from jobs.training.seeds import mixed_seed

if TYPE_CHECKING:
    from collections.abc import Iterator


def epoch_order(samples: int, seed: int, epoch: int) -> torch.Tensor:
    """Return the (samples,) int64 permutation of one epoch, on the CPU: the same on every device.

    Args:
        samples: how many there are.
        seed: of the job.
        epoch: 0-based.
    """
    generator = torch.Generator().manual_seed(mixed_seed("order", seed, epoch))
    return torch.randperm(samples, generator=generator)


def pieces(rows: torch.Tensor, size: int) -> Iterator[torch.Tensor]:
    """Cut (n,) rows into consecutive pieces of *size*; the last one may be smaller."""
    if len(rows) <= size:  # the usual case: a whole batch, without the time that cutting takes
        yield rows
    else:
        yield from torch.split(rows, size)


@dataclass(frozen=True, slots=True)
class Windows:
    """The data of a run on its device, seen through windows of L rows."""

    x: torch.Tensor
    """(rows, F) float: features, standardised, no NaN."""
    y: torch.Tensor
    """(rows,) float: standardised label; any value where it is not known, as such rows are never used."""
    sequence_length: int
    """L: rows of a window; the last one is the sample's own."""
    weight: torch.Tensor | None = None
    """(rows,) float: what each row's loss weighs; None: all weigh the same."""

    @property
    def first_row(self) -> int:
        """The first row with a full window behind it."""
        return self.sequence_length - 1

    def gather(self, rows: torch.Tensor) -> torch.Tensor:
        """Return the windows that end at *rows*, (n,) int64 on the data's device and none before `first_row`."""
        offsets = torch.arange(-self.first_row, 1, device=rows.device)  # (L,)
        flat = (rows[:, None] + offsets).reshape(-1)  # (n * L,)
        return self.x.index_select(0, flat).view(len(rows), self.sequence_length, -1)  # (n, L, F)

    def targets(self, rows: torch.Tensor) -> torch.Tensor:
        """Return the (n,) labels of *rows*."""
        return self.y.index_select(0, rows)

    def weighted(self, losses: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Return the (n,) *losses* of *rows*, each times its row's weight."""
        return losses if self.weight is None else losses * self.weight.index_select(0, rows)

    def digest(self, *row_blocks: torch.Tensor) -> str:
        """Return a digest of the data and the blocks, as `digest_of` does."""
        more = row_blocks if self.weight is None else (*row_blocks, self.weight)
        return digest_of(
            self.sequence_length, self.x.cpu().numpy(), self.y.cpu().numpy(), *(each.cpu().numpy() for each in more)
        )
