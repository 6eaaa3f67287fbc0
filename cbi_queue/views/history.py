"""What a snapshot needs of the whole history, which grows: read once, and kept until the ledger's file changes."""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cbi_queue.budget import BudgetProgress, progress, tally
from cbi_queue.ledger import queries
from cbi_queue.ledger.durations import Works, ended_attempts, learn
from cbi_queue.ledger.listing import failures_by_error

if TYPE_CHECKING:
    from pathlib import Path

    from cbi_queue.ledger import Ledger
    from cbi_queue.lifecycle import JobState
    from cbi_queue.run_times import Durations

MOST_KEPT = 4
"""Ledgers whose history is kept: a process reads one, tests read several."""
_Stamp = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class History:
    """What the whole ledger says, as of one state of it."""

    counts: dict[str, int]
    """State -> number of jobs."""
    budget: BudgetProgress
    works: Works
    durations: Durations
    failures: dict[str, list[str]]
    """What failed jobs ended with -> their names; see `listing.failures_by_error`."""


_kept: OrderedDict[Path, tuple[_Stamp, History]] = OrderedDict()
_lock = threading.Lock()


def history_in(ledger: Ledger, path: Path) -> History:
    """Return the history of the open *ledger*, whose file is *path*, as of its snapshot.

    It is kept while the file and its write-ahead log are the same to the last change, and the newest event is, so a change
    without an event, as by another program, is seen too.
    """
    stamp = ledger_stamp(ledger, path)
    with _lock:
        kept = _kept.get(path)
        if kept is None or kept[0] != stamp:
            kept = _kept[path] = (stamp, _read(ledger))
            _kept.move_to_end(path)
            while len(_kept) > MOST_KEPT:
                _kept.popitem(last=False)
        return kept[1]


def ledger_stamp(ledger: Ledger, path: Path) -> tuple[object, ...]:
    """Return what is another one after every change of the open *ledger*, whose file is *path*."""
    return (queries.newest_event(ledger), *file_stamp(path), *file_stamp(path.with_name(f"{path.name}-wal")))


def _read(ledger: Ledger) -> History:
    works = Works()
    counted: Counter[tuple[str, str, JobState]] = Counter()
    for day, family, model, horizon, state, count in queries.models_of(ledger):
        counted.update(dict.fromkeys(tally([(day, family, model, horizon, state)]), count))
    return History(
        counts=queries.state_counts(ledger),
        budget=progress(counted),
        works=works,
        durations=learn(ended_attempts(ledger, works)),
        failures=failures_by_error(ledger),
    )


def file_stamp(path: Path) -> tuple[int, ...]:
    """Return what is another one after every change of a file; empty while it is not there."""
    try:
        now = path.stat()
    except OSError:
        return ()
    return now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns
