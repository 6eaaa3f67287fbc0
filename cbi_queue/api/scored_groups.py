"""The scored jobs, kept in groups between two looks: a change of the ledger costs what has changed.

Boards of different data sets or horizons have nothing in common, not even their titles, so a group is one data set at one
horizon. A job that changed has an event; only these jobs are read again, and only their groups are ranked again.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from cbi_queue.ledger import queries
from cbi_queue.ledger.listing import has_event, jobs_changed_since
from cbi_queue.views.comparison import key_of
from cbi_queue.views.leaderboard import boards_of
from cbi_queue.views.regime_board import regime_boards_of
from cbi_queue.views.volatility_board import comparable_boards, volatility_boards_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from cbi_queue.ledger import JobRow, Ledger
    from cbi_queue.views.comparison import Comparison

T = TypeVar("T")
_Key = tuple[str, str]
_KINDS = (boards_of, volatility_boards_of, regime_boards_of)
"""In the order in which their boards are shown."""


@dataclass(slots=True)
class Group:
    """The scored jobs of one data set at one horizon."""

    jobs: dict[int, JobRow] = field(default_factory=dict)
    comparable: dict[str, list[JobRow]] = field(default_factory=dict)
    """Title of a board -> its runs that are compared with each other."""
    keys: dict[str, str] = field(default_factory=dict)
    """Title of a board -> what the answer of its comparison is kept by."""
    newest: list[JobRow] = field(default_factory=list)
    """Of each board one job, the newest: they order the boards of all groups."""
    known: Mapping[str, Comparison] = field(default_factory=dict)
    _made: dict[str, Any] = field(default_factory=dict)

    def settle(self) -> None:
        """Sort the jobs into boards again; what was made of the group is forgotten."""
        listed = [*self.jobs.values()]
        self.comparable = comparable_boards(listed)
        self.keys = {title: key_of(jobs) for title, jobs in self.comparable.items()}
        self.newest = [max(jobs, key=lambda job: job.id) for kind in _KINDS for jobs in kind(listed).values()]
        self._made.clear()

    def made(
        self, name: str, make: Callable[[list[JobRow], Mapping[str, Comparison]], T], known: Mapping[str, Comparison]
    ) -> T:
        """Return what *make* makes of the jobs and of what is *known* of their boards, kept under *name* until either changes."""
        if known != self.known:
            self.known = known
            self._made.clear()
        if name not in self._made:
            self._made[name] = make([*self.jobs.values()], known)
        found: T = self._made[name]
        return found


class ScoredGroups:
    """The groups of one ledger. One thread at a time."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self.groups: dict[_Key, Group] = {}
        self._where: dict[int, _Key] = {}
        self._seen: tuple[str, tuple[int, float]] | None = None
        """The ledger, and its newest event, that the groups are of."""

    def update(self, ledger: Ledger) -> None:
        """Read what has changed since the last time; all of another ledger, or of one that a backup has taken back."""
        with ledger.snapshot():
            seen = (ledger.ledger_id, queries.newest_event(ledger))
            if seen == self._seen:
                return
            if self._seen is None or seen[0] != self._seen[0] or not has_event(ledger, *self._seen[1]):
                scored = queries.scored_jobs(ledger)
                self.groups, self._where = {}, {}
                touched = self._put(scored)
            else:
                changed = jobs_changed_since(ledger, self._seen[1][0])
                among = "id IN (SELECT value FROM json_each(?))"
                scored = queries.scored_jobs(ledger, among, json.dumps(changed)) if changed else []
                touched = {self._drop(number) for number in changed if number in self._where} | self._put(scored)
            self._seen = seen
        for key in touched:
            if self.groups[key].jobs:
                self.groups[key].settle()
            else:
                del self.groups[key]

    def in_order(self, made: Mapping[str, T]) -> dict[str, T]:
        """Return what was *made*, title of a board -> anything, in the order of all boards."""
        newest = [job for group in self.groups.values() for job in group.newest]
        return {title: made[title] for kind in _KINDS for title in kind(newest) if title in made}

    def _put(self, jobs: Iterable[JobRow]) -> set[_Key]:
        touched = set()
        for job in jobs:
            key = self._where[job.id] = (job.dataset, job.horizon)
            self.groups.setdefault(key, Group()).jobs[job.id] = job
            touched.add(key)
        return touched

    def _drop(self, number: int) -> _Key:
        key = self._where.pop(number)
        del self.groups[key].jobs[number]
        return key
