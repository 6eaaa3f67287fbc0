"""When the queue will be done, with an 80 % band, from how long its jobs take. Pure: no clock, no disk; seeded.

One slot runs one job at a time, so the end is the sum of the durations up to the last job in the order of the claim. Runs
of one recipe are summed by mean and variance (Fenton and Wilkinson's lognormal); the unknowns that jobs share, the job in
the slot and the pace of the machine are drawn a few hundred times. So ten thousand jobs cost little more than ten.

Errors are counted by their learned rate: each costs a share of a run, as often as the job may be retried.
"""

from __future__ import annotations

import heapq
import math
import random
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import TYPE_CHECKING

from cbi_queue.run_times import PACE_KEPT, PACE_SPREAD

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from cbi_queue.run_times import Durations, Guess, Level, Work

LEAST_PACE_SPREAD = 0.05
"""Standard deviation of the machine's pace, in logarithms, at the least: the next hours are not the last ones."""
PROGRESS_SPREAD, LEAST_PROGRESS_SPREAD = 0.6, 0.03
"""Spread, in logarithms, of the length of the job in the slot by its own reports: at its start and at its end."""
BEYOND = 100.0
"""Times its expected length that a job may be in the slot: after that its machine slept, or its daemon died long ago."""
ERROR_SHARE = 0.5
"""Share of a run that one which ends in an error takes."""
DRAWS, SEED = 400, 7
_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class Pending:
    """A job that has not started."""

    id: int
    work: Work
    priority: int = 0
    retries: int = 0
    needs: tuple[int, ...] = ()
    """Jobs before it that have not ended; what is not pending itself is taken as the job in the slot."""
    wait_s: float = 0.0
    """Seconds until it may start."""


@dataclass(frozen=True, slots=True)
class Running:
    """The job in the slot."""

    work: Work
    elapsed_s: float
    share_done: float | None = None
    """By its own reports; None before the first."""
    remaining_s: float | None = None
    """Seconds left by its own reports; None where not known."""


@dataclass(frozen=True, slots=True)
class Finish:
    """When the last of some jobs ends, in seconds from now."""

    low_s: float
    median_s: float
    high_s: float
    """A tenth of the draws end before `low_s`, half before `median_s`, nine tenths before `high_s`."""
    jobs: int
    """Jobs that it adds up, the one in the slot included."""
    guesses: int
    """Of them, models that have never run."""
    new_models: int
    """How many models these are."""
    unknown: int
    """Jobs of which nothing like them has run: they are not added up."""


def claim_order(pending: Sequence[Pending], typical_s: Mapping[int, float]) -> tuple[list[Pending], float]:
    """Return the jobs in the order of the claim, and the seconds in which none may start.

    Args:
        pending: jobs whose needs are other pending jobs, or the one in the slot.
        typical_s: number of a job -> how long it takes; decides only whether a wait is over by then.
    """
    by_id = {job.id: job for job in pending}
    missing = {job.id: sum(need in by_id for need in job.needs) for job in pending}
    needed_by: dict[int, list[Pending]] = {}
    for need, dependent in ((need, job) for job in pending for need in job.needs):
        needed_by.setdefault(need, []).append(dependent)
    ready: list[tuple[int, int]] = []
    later = [(job.wait_s, job.id) for job in pending if not missing[job.id]]
    heapq.heapify(later)
    order, now_s, idle_s = [], 0.0, 0.0
    while later or ready:
        if not ready and later[0][0] > now_s:
            idle_s += later[0][0] - now_s
            now_s = later[0][0]
        while later and later[0][0] <= now_s:
            waited = by_id[heapq.heappop(later)[1]]
            heapq.heappush(ready, (-waited.priority, waited.id))
        job = by_id[heapq.heappop(ready)[1]]
        order.append(job)
        now_s += typical_s.get(job.id, 0.0)
        for dependent in needed_by.get(job.id, ()):
            missing[dependent.id] -= 1
            if not missing[dependent.id]:
                heapq.heappush(later, (dependent.wait_s, dependent.id))
    return order, idle_s


@dataclass(slots=True)
class _Sum:
    """Jobs of one model and level, added up by mean and variance."""

    shared: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    """Variance of what is unknown of everything, the family and the model; weighted by the means."""
    mean: float = 0.0
    variance: float = 0.0
    recipes: dict[str, list[float]] = field(default_factory=dict)
    """Recipe -> sum of the means, and the variance of what is unknown of it."""

    def add(self, guess: Guess, recipe: str, retries: int, error_rate: float) -> None:
        of_recipe, of_run = guess.unknown[3], guess.unknown[4] + guess.unknown[5]
        failures = sum(error_rate**count for count in range(1, retries + 2))
        mean = math.exp(guess.mu + (of_recipe + of_run) / 2) * (1.0 + ERROR_SHARE * failures)
        self.mean += mean
        self.variance += mean**2 * (math.exp(of_recipe) * math.expm1(of_run) + ERROR_SHARE**2 * failures)
        for place in range(3):
            self.shared[place] += mean * guess.unknown[place]
        told = self.recipes.setdefault(recipe, [0.0, of_recipe])
        told[0] += mean

    @property
    def own_variance(self) -> float:
        """Variance of the sum, without what is shared."""
        return self.variance + sum(mean**2 * math.expm1(of_recipe) for mean, of_recipe in self.recipes.values())


def finish(
    durations: Durations, order: Iterable[Pending], running: Running | None = None, *, idle_s: float = 0.0
) -> Finish | None:
    """Return when *order* is done; None when nothing is known of any of its jobs.

    Args:
        durations: what earlier runs took.
        order: jobs that have not started.
        running: the job in the slot, which ends first.
        idle_s: seconds in which no job may start, and between jobs.
    """
    sums: dict[tuple[str, str, Level], _Sum] = {}
    counted = guesses = unknown = 0
    new_models = set[str]()
    for job in order:
        guess = durations.of(job.work)
        if guess is None:
            unknown += 1
            continue
        counted, guesses = counted + 1, guesses + guess.is_guess
        new_models |= {job.work.model} if guess.is_guess else set()
        key = (job.work.family, job.work.model, guess.level)
        sums.setdefault(key, _Sum()).add(guess, job.work.recipe, job.retries, durations.error_rate)
    now = None
    if running is not None:
        known = durations.of(running.work)
        if known is not None and running.elapsed_s > BEYOND * known.median_s:
            known = None
        now = _total_of(known, running, durations.pace)
        counted, unknown = counted + (now is not None), unknown + (now is None)
        if known is not None and known.is_guess and running.remaining_s is None:
            guesses, new_models = guesses + 1, new_models | {running.work.model}
    if not counted:
        return None
    pace = (durations.pace * _mean_kept(counted), max(LEAST_PACE_SPREAD, _pace_spread(durations, counted)))
    drawn = sorted(_draws(sums, now, 0.0 if running is None else running.elapsed_s, pace))
    low, middle, high = (idle_s + drawn[round(share * (len(drawn) - 1))] for share in (0.1, 0.5, 0.9))
    return Finish(low, middle, high, jobs=counted, guesses=guesses, new_models=len(new_models), unknown=unknown)


def _mean_kept(jobs: int) -> float:
    """Return the share of the present pace that *jobs* jobs keep on average: it returns to the usual one."""
    return (1.0 - PACE_KEPT**jobs) / (jobs * (1.0 - PACE_KEPT))


def _pace_spread(durations: Durations, jobs: int) -> float:
    """Return the standard deviation of the mean pace over the next *jobs* jobs: it wanders, and comes back."""
    wandered = min(jobs / 3, 1.0 / (jobs * (1.0 - PACE_KEPT) ** 2))
    return math.sqrt(durations.pace_spread**2 + min(PACE_SPREAD**2, wandered * durations.drift**2))


def _draws(
    sums: Mapping[tuple[str, str, Level], _Sum],
    now: tuple[float, float] | None,
    elapsed_s: float,
    pace: tuple[float, float],
) -> Iterable[float]:
    """Yield the seconds that everything takes, drawn `DRAWS` times."""
    chance = random.Random(SEED)  # noqa: S311 - no secret
    parts = [
        (family, model, one.mean, [math.sqrt(of / one.mean) for of in one.shared])
        for (family, model, _), one in sums.items()
    ]
    names = {name: 0.0 for family, model, *_ in parts for name in (family, model)}
    mean = sum(one.mean for one in sums.values())
    own = math.log1p(sum(one.own_variance for one in sums.values()) / mean**2) if parts else 0.0
    for number in range(DRAWS):
        everything = chance.gauss(0.0, 1.0)
        for name in names:
            names[name] = chance.gauss(0.0, 1.0)
        total = sum(
            mean_s * math.exp(shared[0] * everything + shared[1] * names[family] + shared[2] * names[model])
            for family, model, mean_s, shared in parts
        )
        total *= math.exp(chance.gauss(*pace) + math.sqrt(own) * chance.gauss(0.0, 1.0) - own / 2)
        if now is not None:
            total += _left(*now, elapsed_s, (number + 0.5) / DRAWS if not parts else chance.random())
        yield total


def _total_of(guess: Guess | None, running: Running, pace: float) -> tuple[float, float] | None:
    """Return mean and spread of the logarithm of the length of the job in the slot, by history and by its reports."""
    if running.remaining_s is None or running.share_done is None:
        return None if guess is None else (guess.mu + pace, guess.spread)
    told = math.log(max(1e-3, running.elapsed_s + running.remaining_s))
    spread = PROGRESS_SPREAD * (1.0 - running.share_done) + LEAST_PROGRESS_SPREAD
    if guess is None:
        return told, spread
    of_history, of_reports = guess.spread**-2, spread**-2
    return (of_history * (guess.mu + pace) + of_reports * told) / (of_history + of_reports), (
        of_history + of_reports
    ) ** -0.5


def _left(mu: float, spread: float, elapsed_s: float, share: float) -> float:
    """Return what is left of a run, at *share* of the runs that take longer than it did so far; seconds."""
    passed = _NORMAL.cdf((math.log(max(elapsed_s, 1e-3)) - mu) / spread)
    at = passed + (1.0 - passed) * share
    if at > 1.0 - 1e-12:  # far beyond what was ever seen: as long again as a run varies
        return elapsed_s * spread
    return max(0.0, math.exp(mu + spread * _NORMAL.inv_cdf(max(at, 1e-12))) - elapsed_s)
