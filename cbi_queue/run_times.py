"""How long a job takes, learned from earlier runs. Pure: no clock, no disk.

The logarithm of a run's seconds is learned by partial pooling over five groups, each within the one before: everything
trained, family, model, recipe (the parameters but length and seed), recipe and horizon. In each group the newest runs are
first translated to the job asked for. Within a model what it needs besides fitting stays, and the rest grows with the size
(rows, fits, trials) and the length (epochs or rounds really used); from one model to another, and to other parameters, it
goes by the ratio of their first costs (`cbi_queue.models.first_costs`), so that the first runs here, of whatever, tell how
fast this machine is. A model without a first cost is compared as it is.

The median of the runs of a group that lie outside the next narrower one then moves the estimate by
w = v / (v + a²/k + s²π/2n): v is the variance so far, a tells the k groups apart that these runs are of, s is the spread of
n like runs. What stays unknown of a group is one unknown, shared by all its jobs. How far groups lie apart is learned too:
each first run of a model is compared with what was guessed of it before.

The machine's pace is followed from run to run, and so is how far it wanders.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from statistics import NormalDist, median
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Level = Literal["same", "model", "family", "any"]
"""What an estimate rests on: runs of the same recipe, of the model, of the family, or of other families only."""
BASELINE = "baseline"
"""Family of the baselines here: a second says nothing about the statistical models that they are listed with."""
TRIVIAL = frozenset({BASELINE, "features"})
"""Families whose runs say nothing about how long another family takes, but by its first costs."""

NEWEST = 20
"""Runs of a group that are looked at: the machine, and what runs beside it, changes."""
GROUP_SPREAD = (1.5, 0.8, 0.4, 0.2)
"""How far, in logarithms, families, models of a family, recipes of a model and horizons of a recipe lie apart at most: as
assumed before any model was guessed. Short jobs are mostly start-up, and lie nearer."""
MEASURED_SPREAD, MEASURED_GROUPS = (0.7, 0.4, 0.25, 0.15), 3
"""The same, of what is left of it once first costs are taken off, and for how many of the groups they are."""
REACH_SPREAD = 0.1
"""What first costs are off, in logarithms, for each e-fold by which a job is longer than all that it is told from."""
APART_RUNS, MOST_SURPRISE = 4, 3.0
"""How many guesses that came true as assumed the assumption counts as, and the largest surprise, in standard deviations."""
RUN_SPREAD, RUN_SPREAD_RUNS = 0.25, 5
"""Spread of like runs, in logarithms, before any is known, and how many runs that counts as."""
PACE_SPREAD, PACE_STEP, PACE_KEPT = 0.8, 0.03, 0.99
"""The pace of the machine, in logarithms: heat, and what else runs. How far it may go, how far it goes from one run to
the next, and what is kept of it: it returns to the usual one."""
FIRST_DRIFT, LEAST_DRIFT, DRIFT_RUNS, DRIFT_KEPT = 0.25, 0.03, 8, 0.98
"""How far the pace may go from one run to the next in what is to come: before it is known, at the least, how many runs the
first counts as, and what is kept of both after each run."""
DRIFT_LAG, MOST_DRIFT = 8, 4.0
"""Runs between the two whose difference tells the drift, and the largest square of it."""
ERROR_PRIOR = (1, 50)
"""Errors and attempts that are assumed before any is known."""
OF_MEDIAN = math.pi / 2
"""Variance of a median over that of a mean."""
_LEVELS: tuple[Level, ...] = ("any", "family", "model", "same", "same")
_FIELDS = ("family", "model", "recipe", "horizon")
_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class Work:
    """What decides how long a job takes, as far as it is known before it runs."""

    family: str
    model: str
    recipe: str
    """Its parameters, but those of length and the seed, as one text."""
    horizon: str
    size: float = 1.0
    """Rows times fits times trials: only its ratio to other runs counts."""
    length: float = 1.0
    """Epochs or rounds at most."""
    cost: tuple[float, float] = (0.0, 0.0)
    """Seconds that such a job needs besides fitting, and for one unit of size and length, on another machine; zeros for
    a model of which nothing was measured there."""

    @property
    def is_measured(self) -> bool:
        """True when it is known how its model compares with others, on another machine."""
        return self.cost[0] > 0.0

    def first_guess_s(self, length: float | None = None) -> float:
        """Return how long it took on that other machine, at *length* epochs or rounds; seconds."""
        start_s, unit_s = self.cost
        return start_s + unit_s * self.size * (self.length if length is None else length)

    @property
    def groups(self) -> tuple[tuple[str, ...], ...]:
        """From the widest group below everything to the narrowest."""
        narrow = tuple(getattr(self, name) for name in _FIELDS)
        return tuple(narrow[:depth] for depth in range(1, 5))


@dataclass(frozen=True, slots=True)
class Run:
    """One run that succeeded."""

    work: Work
    seconds: float
    """In the slot as it really passed, above 0: with the governor's pauses and paces, without those of the user."""
    fit_s: float = 0.0
    """Of it, fitting."""
    used: float = 1.0
    """Epochs or rounds that it used; fewer than allowed when it stopped early."""

    def at_usual_pace(self, pace: float) -> Run:
        """Return what it would have taken, had everything not taken exp(*pace*) times as long."""
        factor = math.exp(-pace)
        return Run(self.work, self.seconds * factor, self.fit_s * factor, self.used)


@dataclass(frozen=True, slots=True)
class Guess:
    """How long a job will take: a lognormal whose variance says what is unknown about which group."""

    mu: float
    """Logarithm of the median, seconds."""
    unknown: tuple[float, ...]
    """Variance of the logarithm, of: everything, family, model, recipe, horizon of the recipe, one run."""
    level: Level

    @property
    def median_s(self) -> float:
        """Half of such runs take less."""
        return math.exp(self.mu)

    @property
    def spread(self) -> float:
        """Standard deviation of the logarithm."""
        return math.sqrt(sum(self.unknown))

    @property
    def is_guess(self) -> bool:
        """True when its model has never run."""
        return self.level in {"family", "any"}

    def chance_above(self, seconds: float) -> float:
        """Return how likely it is to take longer than *seconds*, 0 to 1."""
        return 1.0 - _NORMAL.cdf((math.log(max(seconds, 1e-9)) - self.mu) / self.spread)


class Durations:
    """What is learned from runs: asked for the duration of a job."""

    def __init__(self, runs: Iterable[Run], *, errors: int = 0, attempts: int = 0) -> None:
        """Sort *runs*, oldest first; *errors* of *attempts* ended in an error."""
        self._groups: dict[tuple[str, ...], deque[Run]] = {}
        self._other: dict[str, float] = {}
        self._known: dict[Work, Guess | None] = {}
        self._spreads: dict[str, float] = {}
        self._apart = (float(APART_RUNS), APART_RUNS)
        self._paced: deque[float] = deque(maxlen=DRIFT_LAG)
        self._drift = (0.0, 0.0)
        self.pace = 0.0
        """How much longer everything takes at present than it usually did, as a logarithm."""
        self.pace_spread = PACE_SPREAD
        """Standard deviation of `pace`."""
        for run in runs:
            self._follow_pace(run)
            self._add(run.at_usual_pace(self.pace))
            self._spreads.pop(run.work.model, None)
        self.error_rate = (errors + ERROR_PRIOR[0]) / (attempts + ERROR_PRIOR[1])

    def _add(self, run: Run) -> None:
        for group in ((), *run.work.groups):
            if group or self._tells(run.work, run.work):
                self._groups.setdefault(group, deque(maxlen=NEWEST)).append(run)
        other = max(0.0, run.seconds - run.fit_s)
        self._other[run.work.model] = min(other, self._other.get(run.work.model, other))

    def _follow_pace(self, run: Run) -> None:
        """Compare *run* with what was expected of it: a Kalman filter whose outliers are cut off."""
        variance = min(self.pace_spread**2 + self._drift_if(PACE_STEP) ** 2, PACE_SPREAD**2)
        guess = self._guess(run.work)
        counts = self._tells(run.work, run.work)
        if guess is not None and guess.is_guess and counts:
            surprise = abs(math.log(run.seconds) - guess.mu - self.pace) / guess.spread
            squares, count = self._apart
            self._apart = (squares + min(surprise, MOST_SURPRISE) ** 2 * self._nearness, count + 1)
        if guess is not None and counts and (guess.level == "same" or run.work.is_measured):
            of_run = guess.spread**2
            gain, cut = variance / (variance + of_run), 2.0 * math.sqrt(variance + of_run)
            surprise = math.log(run.seconds) - guess.mu - self.pace
            if guess.level == "same":
                self._follow_drift(surprise + self.pace)
            self.pace = PACE_KEPT * self.pace + gain * max(-cut, min(cut, surprise))
            variance *= 1.0 - gain
        self.pace_spread = math.sqrt(variance)

    def _follow_drift(self, paced: float) -> None:
        """Learn how far the pace goes from one run to the next: runs far apart differ by more than neighbours do."""
        if len(self._paced) == DRIFT_LAG:
            far, near = (min((paced - other) ** 2, MOST_DRIFT) for other in (self._paced[0], self._paced[-1]))
            told, count = self._drift
            self._drift = (DRIFT_KEPT * told + (far - near) / (DRIFT_LAG - 1), DRIFT_KEPT * count + 1.0)
        self._paced.append(paced)

    @property
    def drift(self) -> float:
        """How far the pace may go from one run to the next, as a standard deviation of its logarithm."""
        return max(LEAST_DRIFT, self._drift_if(FIRST_DRIFT))

    def _drift_if(self, assumed: float) -> float:
        told, count = self._drift
        doubt = DRIFT_RUNS * (1.0 - count * (1.0 - DRIFT_KEPT))
        return math.sqrt(max(PACE_STEP**2, (told + doubt * assumed**2) / (count + doubt)))

    @property
    def _nearness(self) -> float:
        """How far groups lie apart here, as a share of the variance assumed: above 0, at most 1."""
        squares, count = self._apart
        return min(1.0, squares / count)

    def of(self, work: Work) -> Guess | None:
        """Return how long a job takes at the usual pace; None when nothing like it has run."""
        if work not in self._known:
            self._known[work] = self._guess(work)
        return self._known[work]

    def soon(self, work: Work) -> Guess | None:
        """Return how long a job takes that starts at the present pace of the machine; None when nothing like it has run."""
        guess = self.of(work)
        if guess is None:
            return None
        *groups, of_run = guess.unknown
        return Guess(guess.mu + self.pace, (*groups, of_run + self.pace_spread**2), guess.level)

    def _guess(self, work: Work) -> Guess | None:
        one_run = self._spread(work.model) ** 2
        mu, unknown, level = 0.0, list[float](), None
        for depth, group in enumerate(((), *work.groups)):
            unknown.append(self._apart_by(work, depth - 1) if depth else 0.0)
            runs, noise = self._siblings(work, group, depth)
            if not runs:
                continue
            noise += OF_MEDIAN * one_run / len(runs) + self._reach(runs, work, depth)
            weight = 1.0 if level is None else sum(unknown) / (sum(unknown) + noise)
            told = median(math.log(self._told(run, work, depth)) for run in runs)
            mu += weight * (told - mu)
            unknown = [(1.0 - weight) * part for part in unknown]
            unknown[-1] += 0.0 if level else noise
            level = _LEVELS[depth]
        return None if level is None else Guess(mu, (*unknown, one_run), level)

    def _siblings(self, work: Work, group: tuple[str, ...], depth: int) -> tuple[Sequence[Run], float]:
        """Return the runs of *group* outside the group of *work* in it, and the variance of what tells them apart."""
        runs: Sequence[Run] = self._groups.get(group, ())
        if depth == len(_FIELDS):
            return runs, 0.0
        if not depth and work.family in TRIVIAL and not work.is_measured:
            return (), 0.0
        name, own = _FIELDS[depth], getattr(work, _FIELDS[depth])
        others = [
            run
            for run in runs
            if getattr(run.work, name) != own and (depth >= MEASURED_GROUPS or self._tells(run.work, work))
        ]
        kinds = len({getattr(run.work, name) for run in others})
        return others, self._apart_by(work, depth) / max(1, kinds)

    @staticmethod
    def _reach(runs: Sequence[Run], work: Work, depth: int) -> float:
        """Return the variance that comes of telling a long job from much shorter ones."""
        if not work.is_measured or depth >= MEASURED_GROUPS:
            return 0.0
        longest_s = max(run.work.first_guess_s() for run in runs)
        return (REACH_SPREAD * math.log(max(1.0, work.first_guess_s() / longest_s))) ** 2

    @staticmethod
    def _tells(one: Work, other: Work) -> bool:
        """Return whether a run of *one* says how long *other* takes."""
        return one.is_measured if other.is_measured else one.family not in TRIVIAL

    def _apart_by(self, work: Work, depth: int) -> float:
        """Return the variance between the groups one deeper than *depth*."""
        return (MEASURED_SPREAD if work.is_measured else GROUP_SPREAD)[depth] ** 2 * self._nearness

    def _told(self, run: Run, work: Work, depth: int) -> float:
        """Return how long *work* takes by *run*, of the same group of this depth; seconds."""
        if work.is_measured and depth < MEASURED_GROUPS:
            return run.seconds * work.first_guess_s() / run.work.first_guess_s()
        return self._translated(run, work) if depth else run.seconds

    def _translated(self, run: Run, work: Work) -> float:
        """Return what *run* would have taken, had it been *work*; seconds."""
        other = min(self._other[run.work.model], run.seconds)
        stopped_early = run.used < run.work.length
        length = min(run.used, work.length) if stopped_early else work.length
        ratio = work.size / run.work.size * length / max(run.used, 1.0)
        return max(1e-3, other + (run.seconds - other) * ratio)

    def _spread(self, model: str) -> float:
        """Return the spread of like runs of a model, in logarithms, pooled with what is assumed."""
        if model not in self._spreads:
            sums, runs = RUN_SPREAD**2 * RUN_SPREAD_RUNS, RUN_SPREAD_RUNS
            for group, found in self._groups.items():
                if len(group) == 4 and group[1] == model and len(found) > 1:
                    logs = [math.log(self._translated(run, found[-1].work)) for run in found]
                    middle = median(logs)
                    sums += sum(min(abs(log - middle), 1.0) ** 2 for log in logs)
                    runs += len(logs) - 1
            self._spreads[model] = math.sqrt(sums / runs)
        return self._spreads[model]
