"""Which job runs when: execution order and circles among `needs`. Pure; iterative, so that a long chain cannot overflow."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from cbi_queue.spec import JobSpec


def execution_order(jobs: Sequence[JobSpec]) -> list[JobSpec]:
    """Return *jobs* as one slot runs them: the highest priority first, then plan order, each after what it waits for.

    Needs outside *jobs* count as met. Jobs in a circle would never start and are left out.
    """
    position = {job.name: i for i, job in enumerate(jobs)}
    open_needs = {job.name: {need for need in job.waits_for if need in position} for job in jobs}
    needed_by: dict[str, list[str]] = {}
    for job in jobs:
        for need in open_needs[job.name]:
            needed_by.setdefault(need, []).append(job.name)
    ready = [(-job.priority, position[job.name]) for job in jobs if not open_needs[job.name]]
    heapq.heapify(ready)
    ordered: list[JobSpec] = []
    while ready:
        job = jobs[heapq.heappop(ready)[1]]
        ordered.append(job)
        for waiting in needed_by.get(job.name, ()):
            open_needs[waiting].discard(job.name)
            if not open_needs[waiting]:
                heapq.heappush(ready, (-jobs[position[waiting]].priority, position[waiting]))
    return ordered


def circles(needs: Mapping[str, Iterable[str]]) -> list[tuple[str, ...]]:
    """Find circles: each as the names from one job through its needs back to itself, first and last the same.

    A circle that shares a job with one already listed is left out: it may be gone once that one is.
    """
    found: list[tuple[str, ...]] = []
    done: set[str] = set()
    for start in needs:
        if start not in done:
            _walk(start, needs, done, found)
    return found


def _walk(start: str, needs: Mapping[str, Iterable[str]], done: set[str], found: list[tuple[str, ...]]) -> None:
    """Walk depth first from *start*; a step back onto the path closes a circle."""
    path, on_path = [start], {start}
    pending = [iter(needs[start])]
    listed = {name for circle in found for name in circle}
    while pending:
        need = next(pending[-1], None)
        if need is None:
            pending.pop()
            name = path.pop()
            on_path.discard(name)
            done.add(name)
        elif need in on_path:
            circle = path[path.index(need) :]
            if listed.isdisjoint(circle):
                found.append((*circle, need))
                listed.update(circle)
        elif need in needs and need not in done:
            path.append(need)
            on_path.add(need)
            pending.append(iter(needs[need]))
