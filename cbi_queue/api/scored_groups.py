"""The scored jobs in groups, and what was made of each between two looks: a change of the ledger costs what has changed.

Boards of different data sets or horizons have nothing in common, not even their titles, so a group is one data set at one
horizon. A job that changed has an event, and only the groups of such jobs are read and ranked again. A group keeps the
numbers of its jobs, not their scores: of 100,000 runs these take a gigabyte.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from cbi_queue.ledger import queries
from cbi_queue.ledger.listing import has_event, jobs_changed_since, scored_places
from cbi_queue.views.boards import KINDS, comparable_boards, placed_boards
from cbi_queue.views.comparison import Comparison, key_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from cbi_queue.ledger import JobRow, Ledger
    from cbi_queue.views.boards import Place

T = TypeVar("T")
_Key = tuple[str, str]
MOST_COMPARED = 2_000
"""Runs of a board that are compared with each other: the test of 1,000 takes 3 s, and its work grows with their square."""
TOO_MANY = Comparison(fault=f"More than {MOST_COMPARED} runs are not compared with each other.")


@dataclass(slots=True)
class Group:
    """The scored jobs of one data set at one horizon."""

    numbers: set[int] = field(default_factory=set)
    comparable: dict[str, list[JobRow]] = field(default_factory=dict)
    """Title of a board -> its runs that are compared with each other; without boards of too many."""
    keys: dict[str, str] = field(default_factory=dict)
    """Title of a board -> what the answer of its comparison is kept by."""
    places: dict[str, tuple[int, Place]] = field(default_factory=dict)
    """Title of a board -> its place among the boards of all groups."""
    known: Mapping[str, Comparison] = field(default_factory=dict)
    is_settled: bool = False
    _made: dict[str, Any] = field(default_factory=dict)

    def settle(self, jobs: Callable[[], list[JobRow]]) -> None:
        """Sort the jobs into boards where one has changed; what was made of the group is forgotten."""
        if self.is_settled:
            return
        listed = jobs()
        boards = comparable_boards(listed)
        self.comparable = {title: runs for title, runs in boards.items() if len(runs) <= MOST_COMPARED}
        self.keys = {title: key_of(runs) for title, runs in boards.items()}
        self.places = {
            title: (number, place)
            for number, kind in enumerate(KINDS)
            for title, (place, _) in placed_boards(listed, kind).items()
        }
        self._made.clear()
        self.is_settled = True

    def has(self, name: str) -> bool:
        """Return True if what is made under *name* is there, unless more is known of the boards since."""
        return self.is_settled and name in self._made

    def made(
        self,
        name: str,
        make: Callable[[list[JobRow], Mapping[str, Comparison]], T],
        jobs: Callable[[], list[JobRow]],
        known: Mapping[str, Comparison],
    ) -> T:
        """Return what *make* makes of the jobs and of what is *known* of their boards, kept under *name* until either changes."""
        if known != self.known:
            self.known = known
            self._made.clear()
        if name not in self._made:
            self._made[name] = make(jobs(), known)
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
                places = scored_places(ledger)
                self.groups, self._where = {}, {}
                touched = self._put(places)
            else:
                changed = jobs_changed_since(ledger, self._seen[1][0])
                places = scored_places(ledger, changed) if changed else {}
                touched = {self._drop(number) for number in changed if number in self._where} | self._put(places)
            self._seen = seen
        for key in touched:
            self.groups[key].is_settled = False
            if not self.groups[key].numbers:
                del self.groups[key]

    def pending(self, name: str) -> int:
        """Return how many jobs are to be read for what is made under *name*."""
        return sum(len(group.numbers) for group in self.groups.values() if not group.has(name))

    def listed(self, ledger: Ledger) -> Iterator[tuple[Group, Callable[[], list[JobRow]]]]:
        """Yield each group, and what reads its jobs, in plan order, at most once."""
        for group in self.groups.values():
            yield group, functools.cache(functools.partial(_jobs_of, ledger, group))

    def in_order(self, made: Mapping[str, T]) -> dict[str, T]:
        """Return what was *made*, title of a board -> anything, in the order of all boards."""
        places = {title: place for group in self.groups.values() for title, place in group.places.items()}
        return {title: made[title] for title in sorted(places, key=places.__getitem__) if title in made}

    def _put(self, places: Mapping[int, _Key]) -> set[_Key]:
        self._where |= places
        for number, key in places.items():
            self.groups.setdefault(key, Group()).numbers.add(number)
        return set(places.values())

    def _drop(self, number: int) -> _Key:
        key = self._where.pop(number)
        self.groups[key].numbers.discard(number)
        return key


def _jobs_of(ledger: Ledger, group: Group) -> list[JobRow]:
    among = "id IN (SELECT value FROM json_each(?))"
    return queries.scored_jobs(ledger, among, json.dumps(sorted(group.numbers)))
