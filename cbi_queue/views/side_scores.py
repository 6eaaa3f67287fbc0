"""The scores of jobs that forecast something beside the price, with those of the baselines they bring along. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cbi_queue.views.stored_values import number_of, object_of, whole_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cbi_queue.ledger import JobRow


@dataclass(frozen=True, slots=True)
class SideScores:
    """Where the scores of one kind stand in a job's metrics."""

    key: str
    """What they are called there."""
    loss: str
    bar: str
    """The baseline that skill is held against."""

    def of(self, job: JobRow, block: str, who: str = "model") -> dict[str, Any]:
        """Return the scores of the job's model, or of a baseline, in a block; empty when there are none."""
        return object_of(object_of(object_of((job.metrics or {}).get(self.key)).get(block)).get(who))

    def baseline_skill(self, job: JobRow, block: str, baseline: str) -> float | None:
        """Return 1 - the loss of *baseline* / that of the bar in a block; 0 for the bar itself."""
        own, bar = (number_of(self.of(job, block, name).get(self.loss)) for name in (baseline, self.bar))
        return 1.0 - own / bar if own is not None and bar else None

    def longest(self, jobs: Iterable[JobRow]) -> JobRow | None:
        """Return the job whose model was judged on the most rows of the backtest."""
        return max(jobs, key=lambda job: whole_of(self.of(job, "backtest").get("rows")) or 0, default=None)
