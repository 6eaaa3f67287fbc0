"""Open the final blocks: the scores that every run keeps closed, and the record of each time that somebody looked.

A block that was looked at before is no longer final: what is chosen after a look has been fitted to it. So each opening
is an event of a run of the board, and the next one says how often there was one before, whatever was trained meanwhile.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cbi_queue import clock
from cbi_queue.datasets.place import DEFAULT
from cbi_queue.lifecycle import Reason
from cbi_queue.regular_files import read_whole
from cbi_queue.views.boards import comparable_boards
from cbi_queue.views.leaderboard import LeaderboardRow, rank
from cbi_queue.views.volatility_board import VolatilityRow, rank_volatility, with_final_scores
from cbi_queue.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cbi_queue.ledger import JobRow, Ledger

    Rows = Sequence[LeaderboardRow] | Sequence[VolatilityRow]

FILE_NAME = "final_block.json"
EVENT = "open_final"


@dataclass(frozen=True, slots=True)
class FinalBoard:
    """One board with the scores of the final block."""

    rows: Rows
    """Placed by validation, as before: the final block selects nothing."""
    opened_before: int
    """Times that this block of the horizon and data set was opened before, by any run of it."""
    not_opened: tuple[str, ...]
    """Names of the runs whose final block cannot be read."""

    @property
    def words(self) -> str:
        """Say how final the block still is."""
        missing = f" Without a readable final block: {', '.join(self.not_opened)}." if self.not_opened else ""
        if not self.opened_before:
            return f"The final block was opened for the first time; this is recorded.{missing}"
        times = counted(self.opened_before, "time")
        return f"The final block was opened {times} before, so it is no longer final; this is recorded.{missing}"


def open_final_blocks(ledger: Ledger, jobs: Iterable[JobRow]) -> dict[str, FinalBoard]:
    """Read the final block of each scored run, and record that it was opened.

    Args:
        ledger: open for writing.
        jobs: scored jobs of the boards to open.

    Returns:
        Title of the board -> its scores; boards without a final block are left out, and nothing is recorded of them.
    """
    opened, at = {}, clock.epoch_s()
    for title, counted_jobs in comparable_boards(jobs).items():
        final = {job.id: found for job in counted_jobs if (found := _with_final_scores(job))}
        if not final:
            continue
        boards: dict[str, Rows] = {**rank(final.values()), **rank_volatility(final.values())}
        (rows,) = boards.values()
        words = f"the final block of the board {title} was opened ({counted(len(final), 'run')})"
        before = _record(ledger, next(iter(final.values())), words, at)
        absent = tuple(job.name for job in counted_jobs if job.id not in final)
        opened[title] = FinalBoard(rows, before, absent)
    return opened


def _with_final_scores(job: JobRow) -> JobRow | None:
    """Return the job with the scores of its final block in place of the backtest's; None without such a block."""
    try:
        stored = json.loads(read_whole(Path(job.run_dir or "/nowhere") / FILE_NAME))
    except (OSError, ValueError, RecursionError):
        return None
    if "volatility" in (job.metrics or {}):
        return with_final_scores(job, stored)
    own, naive = (stored.get(key) if isinstance(stored, dict) else None for key in ("final", "naive"))
    if not isinstance(own, dict) or not isinstance(naive, dict):
        return None
    kept: dict[str, Any] = {**(job.metrics or {}), "backtest": own, "naive": {"backtest": naive}}
    for of_backtest in ("coverage", "against_best"):
        kept.pop(of_backtest, None)
    return replace(job, metrics=kept)


def _record(ledger: Ledger, job: JobRow, words: str, at: float) -> int:
    """Write the event of one board, with its best run, and return how often its block was opened before the instant."""
    with ledger.write():
        before = openings(ledger, job.dataset, job.horizon, until=at)
        often = f"it had been opened {counted(before, 'time')} before" if before else "for the first time"
        ledger.add_event(EVENT, Reason.USER, job_id=job.id, words=f"{words}, {often}", at=at)
    return before


def openings(ledger: Ledger, dataset: str, horizon: str, *, until: float) -> int:
    """Count how often the final block of a horizon of a data set was opened before the instant *until*."""
    sql = """
        SELECT COUNT(DISTINCT e.at) FROM events e JOIN jobs j ON j.id = e.job_id
        WHERE e.event = ? AND e.at < ? AND j.horizon = ? AND coalesce(json_extract(j.spec, '$.dataset'), ?) = ?
    """
    return int(ledger.conn.execute(sql, (EVENT, until, horizon, DEFAULT, dataset)).fetchone()[0])
