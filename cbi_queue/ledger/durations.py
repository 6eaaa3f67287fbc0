"""How long earlier runs took, and what decides it, as `cbi_queue.run_times` learns from it. Read-only.

A run counts as it really passed in the slot, with the governor's pauses and paces; what the user paused is taken off. A
run that was interrupted does not count: what its daemon did not see is unknown.
"""

from __future__ import annotations

import json
import math
import re
from bisect import bisect_right
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from cbi_queue import clock
from cbi_queue.datasets.place import DEFAULT
from cbi_queue.ledger.rows import CLAIMED_BOOT, SLOT_TIME
from cbi_queue.lifecycle import PAUSE, RESUME, HoldReason, Outcome
from cbi_queue.models.first_costs import FIRST_COSTS, USUAL_ROWS, shape
from cbi_queue.models.kinds import BARS, Family
from cbi_queue.run_times import BASELINE, Durations, Run, Work
from cbi_queue.values.written import shape_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cbi_queue.ledger.ledger import Ledger

NEWEST_ATTEMPTS = 400
"""Attempts that are looked at: four weeks. More would teach little, and make `status` slow."""
LENGTHS = ("epochs", "n_estimators")
"""Parameters of which a model has at most one: how long it trains."""
_OUTSIDE_RECIPE = (*LENGTHS, "seed", "search_trials")
_SEED = re.compile(r'"seed":\d+')
_HOLD_EVENTS = "'hold_placed', 'hold_restarted', 'hold_lifted', 'hold_expired'"
_ERRORS = frozenset({Outcome.ERROR, Outcome.OOM, Outcome.TIMED_OUT})
_Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class EndedAttempt:
    """One attempt that has ended, with what its job is."""

    job_id: int
    outcome: Outcome
    started_at: float
    ended_at: float
    seconds: float
    """In the slot, without the user's pauses; negative when the clock was set back and nothing else is known."""
    work: Work
    fit_s: float
    used: float | None
    """Epochs or rounds; None when not known."""


@dataclass(slots=True)
class Works:
    """Turns parameters into `Work`; each text is read once."""

    first_costs: Mapping[str, tuple[float, float]] = field(default_factory=lambda: FIRST_COSTS)
    _rows: dict[tuple[str, str, bool], float] = field(default_factory=dict)
    """(data set, horizon, features or not) -> rows of the newest run on it."""
    _read: dict[tuple[str, str], tuple[str, float, float]] = field(default_factory=dict)

    def of(self, family: str, model: str, horizon: str, params: str, dataset: str | None) -> Work:
        """Return what decides how long a job takes.

        Args:
            family: of the catalogue.
            model: of the catalogue.
            horizon: how far ahead.
            params: JSON of all parameters.
            dataset: that it reads; None for the default one.
        """
        text = _SEED.sub("", params)
        key = (family, text)
        if key not in self._read:
            self._read[key] = _recipe(json.loads(params))
        recipe, size, length = self._read[key]
        rows = self._rows_of(dataset or DEFAULT, horizon, is_features=family == Family.FEATURES)
        cost = self.first_costs.get(model, (0.0, 0.0))
        named = _command_shape(params) if family == Family.SCRIPT else model
        return Work(BASELINE if model in BARS else family, named, recipe, horizon, size * rows, length, cost=cost)

    def _rows_of(self, dataset: str, horizon: str, *, is_features: bool) -> float:
        """Return the rows of a data set at a horizon; of another horizon, where none has been seen there."""
        keys = ((dataset, horizon, is_features), (dataset, horizon, not is_features))
        known = next((self._rows[key] for key in keys if key in self._rows), None)
        return known or next((rows for key, rows in self._rows.items() if key[0] == dataset), USUAL_ROWS)

    def saw(self, family: str, horizon: str, dataset: str | None, rows: object) -> None:
        """Learn the rows of a data set from a run's metrics: a number, or blocks of them."""
        blocks = rows.values() if isinstance(rows, dict) else (rows,)
        count = sum(float(n) for n in blocks if isinstance(n, int | float))
        if count > 0:
            self._rows[dataset or DEFAULT, horizon, family == Family.FEATURES] = count


@lru_cache(maxsize=1000)
def _command_shape(params: str) -> str:
    """Return what a script's runs are alike in: one command says little of how long another takes."""
    return shape_of(json.loads(params).get("command", ()))


def _recipe(params: Mapping[str, Any]) -> tuple[str, float, float]:
    """Return the recipe, the size without the rows, and the length."""
    fits = _fits(params)
    searched = _number(params, "search_trials", 0) * _number(params, "search_folds", 1)
    recipe = json.dumps({key: value for key, value in params.items() if key not in _OUTSIDE_RECIPE}, sort_keys=True)
    length = max([1.0, *(_number(params, name, 1) for name in LENGTHS)])
    return recipe, (fits + searched) * shape(params), length


def _fits(params: Mapping[str, Any]) -> float:
    """Return how many fits a job makes: one, or the first and its refits."""
    every, judged = _number(params, "refit_every_rows", 0), _number(params, "backtest_rows", 0)
    if not every:
        return 1.0
    if "history_rows" in params:
        return 1.0 + math.ceil((judged + _number(params, "validation_rows", 0)) / every)
    if params.get("scheme") != "walk_forward":
        return 1.0
    return 1.0 + math.ceil((judged + _number(params, "final_block_rows", 0)) / every)


def _number(values: Mapping[str, Any], name: str, default: float) -> float:
    found = values.get(name)
    return float(found) if isinstance(found, int | float) else default


_ATTEMPTS = f"""
    SELECT a.job_id, a.outcome, a.started_at, a.ended_at, json_extract(a.settings, '$.{SLOT_TIME}') AS slot_s,
        j.family, j.model, j.horizon, json_extract(j.spec, '$.params') AS params,
        json_extract(j.spec, '$.dataset') AS dataset,
        json_extract(j.metrics, '$.fit_s', '$.rounds', '$.epochs', '$.rows') AS figures
    FROM attempts a JOIN jobs j ON j.id = a.job_id WHERE a.ended_at IS NOT NULL ORDER BY a.id DESC LIMIT ?
"""  # noqa: S608 - our own words


def ended_attempts(ledger: Ledger, works: Works) -> list[EndedAttempt]:
    """Return the newest attempts that have ended, oldest first; *works* learns the rows of each data set."""
    pauses = UserPauses(ledger)
    found = []
    for row in reversed(ledger.conn.execute(_ATTEMPTS, (NEWEST_ATTEMPTS,)).fetchall()):
        fit_s, rounds, epochs, rows = json.loads(row["figures"] or "[null, null, null, null]")
        works.saw(row["family"], row["horizon"], row["dataset"], rows)
        seconds = row["ended_at"] - row["started_at"] if row["slot_s"] is None else row["slot_s"]
        seconds -= pauses.within(row["job_id"], row["started_at"], row["ended_at"])
        used = next((float(n) for n in (rounds, epochs) if isinstance(n, int | float) and n > 0), None)
        found.append(
            EndedAttempt(
                job_id=row["job_id"],
                outcome=Outcome(row["outcome"]),
                started_at=row["started_at"],
                ended_at=row["ended_at"],
                seconds=seconds,
                work=works.of(row["family"], row["model"], row["horizon"], row["params"], row["dataset"]),
                fit_s=float(fit_s) if isinstance(fit_s, int | float) else 0.0,
                used=used,
            )
        )
    return found


def learn(attempts: Sequence[EndedAttempt]) -> Durations:
    """Learn from attempts, oldest first.

    What a job lost to an eviction counts to its run. An interrupted one does not: it may have waited for its next daemon.
    """
    so_far: dict[int, float] = {}
    runs, errors, counted = [], 0, 0
    for attempt in attempts:
        before = so_far.pop(attempt.job_id, 0.0)
        if attempt.outcome is Outcome.SUCCESS and attempt.seconds > 0 and not math.isnan(before):
            used = attempt.work.length if attempt.used is None else min(attempt.used, attempt.work.length)
            runs.append(Run(attempt.work, before + attempt.seconds, attempt.fit_s, used))
        elif attempt.outcome is Outcome.EVICTED:
            so_far[attempt.job_id] = before + max(0.0, attempt.seconds)
        elif attempt.outcome is Outcome.INTERRUPTED:
            so_far[attempt.job_id] = math.nan
        errors += attempt.outcome in _ERRORS
        counted += attempt.outcome in _ERRORS or attempt.outcome is Outcome.SUCCESS
    return Durations(runs, errors=errors, attempts=counted)


def time_in_slot(ledger: Ledger, job_id: int, started_at: float, settings: Mapping[str, Any] | None) -> float:
    """Return the seconds that the open attempt of a job has been in the slot so far, without the user's pauses.

    By the boot clock, which nobody sets, where its start is known; else by the instants.
    """
    now, begun_s = clock.epoch_s(), (settings or {}).get(CLAIMED_BOOT)
    passed_s = clock.boot_s() - begun_s if isinstance(begun_s, int | float) else -1.0
    passed_s = now - started_at if passed_s < 0 else passed_s
    return max(0.0, passed_s - UserPauses(ledger, job_id).within(job_id, started_at, max(now, started_at)))


class UserPauses:
    """When jobs were paused by the user's hold, and not by the governor."""

    def __init__(self, ledger: Ledger, job_id: int | None = None) -> None:
        """Read the holds of the user, and when jobs paused, if there was one; *job_id*: only when this one did."""
        sql = f"SELECT at, event FROM events WHERE reason = ? AND event IN ({_HOLD_EVENTS}) ORDER BY id"  # noqa: S608
        self._holds = _intervals(
            (row["at"], row["event"] in {"hold_placed", "hold_restarted"})
            for row in ledger.conn.execute(sql, (HoldReason.USER,))
        )
        self._paused: dict[int, list[tuple[float, bool]]] = {}
        if self._holds:
            of = "" if job_id is None else "job_id = ?3 AND"
            sql = f"SELECT at, job_id, event FROM events WHERE {of} event IN (?1, ?2) ORDER BY id"  # noqa: S608
            for row in ledger.conn.execute(sql, (PAUSE.name, RESUME.name, *(() if job_id is None else (job_id,)))):
                self._paused.setdefault(row["job_id"], []).append((row["at"], row["event"] == PAUSE.name))

    def within(self, job_id: int, begin: float, end: float) -> float:
        """Return the seconds between two instants in which the user had the job paused."""
        return sum(
            max(0.0, min(end, until, lifted) - max(begin, since, placed))
            for since, until in _intervals(self._paused.get(job_id, ()))
            for placed, lifted in self._near(since, until)
        )

    def _near(self, since: float, until: float) -> Sequence[_Interval]:
        first = max(0, bisect_right(self._holds, (since, math.inf)) - 1)
        return self._holds[first : bisect_right(self._holds, (until, math.inf))]


def _intervals(changes: Any) -> list[_Interval]:
    """Return when something was in force, from the instants at which it began (True) or ended; the last may be open."""
    found: list[_Interval] = []
    since: float | None = None
    for at, begins in changes:
        if begins and since is None:
            since = at
        elif not begins and since is not None:
            found.append((since, at))
            since = None
    return found if since is None else [*found, (since, math.inf)]
