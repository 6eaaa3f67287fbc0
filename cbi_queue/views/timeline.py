"""The week as a picture: each attempt with its pauses, the heat, and what is planned. Read-only.

Every query is bounded: a ledger of a hundred thousand jobs costs what one of sixty does.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from cbi_queue.ledger.rows import SLOT_TIME
from cbi_queue.wording import DAY_S, counted, duration

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from cbi_queue.ledger import Ledger
    from cbi_queue.telemetry.reader import TelemetryReader
    from cbi_queue.views.finish import QueueFinish, QueueForecast

BACK_S = 7 * DAY_S
"""How far back the picture reaches at most."""
AHEAD_S = 7 * DAY_S
"""How far ahead it reaches at most."""
MOST_ATTEMPTS = 300
"""Newest attempts that are drawn."""
MOST_PLANNED = 200
HEAT_BINS = 96
"""Stretches of the ribbon of heat: the first sample of each stands for it."""
WIDTH = 1000.0
"""Coordinates across; the page stretches them."""
LEAST_WIDTH = 1.5
"""An attempt of a second in a week is still to be seen."""
TICKS_S = (60.0, 300.0, 900.0, 3600.0, 4 * 3600.0, DAY_S, 2 * DAY_S)
MOST_TICKS = 9
DAY_ROOM, CLOCK_ROOM, PHONE = 130.0, 56.0, 2.9
"""What `Mon, Nov 30, 07:00` and `07:00` take of the width, and how many times that on a phone."""
FOLD_S, FOLD_SHARE = 1800.0, 0.08
"""An idle time at least so long, in seconds and as a share of all, is folded."""
FOLD_WIDTH = 26.0
BAND_SHARE = 0.5
"""How much room the late end of the band may take beside everything before it; what lies later is cut off."""
GROUPS = {
    "trees": "trees",
    "statistical": "statistical",
    "simple_neural": "simple neural",
    "advanced_neural": "advanced neural",
    "volatility": "volatility",
    "regime_classifier": "regimes",
    "regime_specific": "regimes",
    "meta": "meta-learners",
}
"""Family -> what its colour is called; the others are `other`."""
KNOWN_HEAT = frozenset({"nominal", "moderate", "heavy", "trapping", "sleeping"})
_ATTEMPTS = f"""
    SELECT a.job_id, a.number, a.started_at, a.ended_at, a.outcome, j.name, j.family,
        json_extract(a.settings, '$.{SLOT_TIME}') AS slot_s FROM attempts a
    JOIN jobs j ON j.id = a.job_id WHERE a.id > (SELECT coalesce(MAX(id), 0) - ? FROM attempts)
    AND coalesce(a.ended_at, ?) >= ? ORDER BY a.id
"""  # noqa: S608 - our own words
_PAUSES = """
    SELECT at, event FROM events WHERE job_id = ? AND at BETWEEN ? AND ? AND event IN ('pause', 'resume') ORDER BY id
"""
_PAUSED_JOBS = """
    SELECT DISTINCT job_id FROM events WHERE event = 'pause' AND id > (SELECT coalesce(MAX(id), 0) - 5000 FROM events)
"""
_SAMPLE = "SELECT at, json_extract(readings, '$.thermal') FROM samples WHERE at >= ? AND at < ? ORDER BY at LIMIT 1"


@dataclass(frozen=True, slots=True)
class Block:
    """A stretch of the picture, in its coordinates."""

    x: float
    width: float
    kind: str
    """Of attempts and plan, what the colour is called (`GROUPS`); of heat, the level; `band`; `fold`; `pause`."""
    words: str
    outcome: str = ""


@dataclass(frozen=True, slots=True)
class Tick:
    """An instant that is marked on the axis."""

    x: float
    at: float
    form: str
    """day | clock | nothing: how its instant is written, where there is room."""
    on_phone: bool
    """True where a phone has room for it, too."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """Attempts, pauses, heat and plan on one axis."""

    begin: float
    end: float
    now_x: float
    attempts: tuple[Block, ...]
    pauses: tuple[Block, ...]
    heat: tuple[Block, ...]
    planned: tuple[Block, ...]
    band: Block | None
    """The 80 % band of the finish."""
    folds: tuple[Block, ...]
    """Idle times that are drawn narrow."""
    groups: tuple[str, ...]
    """What the colours stand for, in the order of the budget."""
    ticks: tuple[Tick, ...]
    step_s: float
    """Seconds between two ticks."""
    words: str
    """All of it in a sentence, for those who do not see it."""


def timeline(
    ledger: Ledger, telemetry: TelemetryReader, forecast: QueueForecast, finish: QueueFinish
) -> Timeline | None:
    """Draw the last seven days, and what is planned; None before the first attempt.

    Args:
        ledger: open, with a snapshot in force.
        telemetry: open.
        forecast: the queue, as of the same instant.
        finish: what it says of the end.
    """
    now = forecast.now
    rows = ledger.conn.execute(_ATTEMPTS, (MOST_ATTEMPTS, now, now - BACK_S)).fetchall()
    if not rows:
        return None
    plan = list(_plan(forecast, finish.at)) if finish.state == "known" and finish.at is not None else []
    begin = min(max(now - BACK_S, rows[0]["started_at"]), now - 60.0)
    busy = [(row["started_at"], row["ended_at"] or now) for row in rows]
    axis = _Axis(begin, _last(begin, now, plan, finish), [*busy, *((one.since, one.until) for one in plan), (now, now)])
    attempts = tuple(
        axis.block(
            row["started_at"],
            row["ended_at"] or now,
            _group(row["family"]),
            _said(row, now),
            row["outcome"] or "running",
        )
        for row in rows
    )
    pauses = tuple(
        axis.block(since, until, "pause", f"{name} paused for {duration(until - since)}")
        for since, until, name in _pauses(ledger, rows, now)
    )
    planned = tuple(axis.block(one.since, one.until, _group(one.family), one.words, "planned") for one in plan)
    band = None
    if finish.low_at is not None and finish.high_at is not None:
        is_cut = finish.high_at > axis.end
        words = "80 % band of the finish" + ("; its end lies beyond the picture" if is_cut else "")
        band = axis.block(finish.low_at, finish.high_at, "band", words)
    step_s = next((step for step in TICKS_S if axis.drawn_s / step <= MOST_TICKS), TICKS_S[-1])
    return Timeline(
        begin=axis.begin,
        end=axis.end,
        now_x=axis.x(now),
        attempts=attempts,
        pauses=pauses,
        heat=tuple(_heat(telemetry, axis, now)),
        planned=planned,
        band=band,
        folds=tuple(axis.block(since, until, "fold", f"{duration(until - since)} idle") for since, until in axis.folds),
        groups=tuple(
            dict.fromkeys(g for g in (*GROUPS.values(), "other") if g in {b.kind for b in (*attempts, *planned)})
        ),
        ticks=tuple(axis.ticks(step_s)),
        step_s=step_s,
        words=f"{counted(len(rows), 'attempt')} in {duration(now - axis.begin)}, {counted(len(pauses), 'pause')}, "
        f"{counted(len(plan), 'job')} planned",
    )


def _group(family: str) -> str:
    return GROUPS.get(family, "other")


def _last(begin: float, now: float, plan: Sequence[_Planned], finish: QueueFinish) -> float:
    """Return where the picture ends: with the plan and the band, but a late end of the band does not shrink the rest."""
    done = max([now, finish.at or now, *(one.until for one in plan)])
    late = min(finish.high_at or done, done + BAND_SHARE * (done - begin))
    return min(max(done, late), now + AHEAD_S)


class _Axis:
    """Instants as coordinates; long idle times are narrow."""

    def __init__(self, begin: float, end: float, busy: Iterable[tuple[float, float]]) -> None:
        """Lay out *begin* to *end*; *busy* is when jobs run, or are planned to."""
        self.begin, self.end = begin, max(end, begin + 60.0)
        self.folds = list(_idle(self.begin, self.end, busy))
        self.drawn_s = self.end - self.begin - sum(until - since for since, until in self.folds)
        self._per_s = (WIDTH - FOLD_WIDTH * len(self.folds)) / self.drawn_s

    def x(self, at: float) -> float:
        at = min(self.end, max(self.begin, at))
        x = (at - self.begin) * self._per_s
        for since, until in self.folds:
            if at > since:
                inside_s = min(at, until) - since
                x += FOLD_WIDTH * inside_s / (until - since) - inside_s * self._per_s
        return round(x, 2)

    def block(self, since: float, until: float, kind: str, words: str, outcome: str = "") -> Block:
        left = min(self.x(since), WIDTH - LEAST_WIDTH)
        return Block(left, max(LEAST_WIDTH, round(self.x(until) - left, 2)), kind, words, outcome)

    def ticks(self, step_s: float) -> Iterator[Tick]:
        """Yield the whole steps that lie in no fold; one after a fold, and the first, is written with its day."""
        at, before, free, phone_free = (self.begin // step_s + 1) * step_s, None, 0.0, 0.0
        while at < self.end:
            if not any(since < at < until for since, until in self.folds):
                form = "clock" if before is not None and at - before <= step_s < DAY_S else "day"
                x, room = self.x(at), CLOCK_ROOM if form == "clock" else DAY_ROOM
                fits = x >= free and x + room * 0.6 <= WIDTH
                on_phone = x >= phone_free and x + room * PHONE <= WIDTH
                yield Tick(x, at, form if fits else "", fits and on_phone)
                free = x + room if fits else free
                phone_free = x + room * PHONE if on_phone else phone_free
                before = at
            at += step_s


def _idle(begin: float, end: float, busy: Iterable[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    """Yield the long times between *begin* and the last job in which nothing runs."""
    least_s, at = max(FOLD_S, FOLD_SHARE * (end - begin)), begin
    for since, until in sorted(busy):
        if since - at >= least_s:
            yield at, min(since, end)
        at = min(end, max(at, until))


def _said(row: Any, now: float) -> str:
    took = duration((row["ended_at"] or now) - row["started_at"] if row["slot_s"] is None else row["slot_s"])
    return f"{row['name']}, attempt {row['number']}: {row['outcome'] or 'in the slot'}, {took}"


def _pauses(ledger: Ledger, rows: Iterable[Any], now: float) -> Iterator[tuple[float, float, str]]:
    """Yield the pauses of attempts: since, until, name of the job."""
    paused = {row["job_id"] for row in ledger.conn.execute(_PAUSED_JOBS)}
    for row in rows:
        if row["job_id"] not in paused:
            continue
        until, since = row["ended_at"] or now, None
        for event in ledger.conn.execute(_PAUSES, (row["job_id"], row["started_at"], until)):
            if event["event"] == "pause":
                since = event["at"]
            elif since is not None:
                yield since, event["at"], row["name"]
                since = None
        if since is not None:
            yield since, until, row["name"]


class _Planned(NamedTuple):
    """A job that is to come, or what is left of the one in the slot."""

    since: float
    until: float
    family: str
    words: str


def _plan(forecast: QueueForecast, end: float) -> Iterator[_Planned]:
    """Yield when each job that is to come probably runs, in the proportions of their medians.

    Medians of parts add up to less than the median of the whole: the jobs that wait are stretched to end at *end*.
    """
    order, idle_s = forecast.ordered()
    at = forecast.now + idle_s
    if forecast.running is not None and forecast.running_id is not None:
        left_s = forecast.running.remaining_s
        if left_s is None:
            guess = forecast.durations.soon(forecast.running.work)
            left_s = max(0.0, guess.median_s - forecast.running.elapsed_s) if guess is not None else 0.0
        until, number = forecast.now + left_s, forecast.running_id
        yield _Planned(
            forecast.now, until, forecast.family(number), f"{forecast.names[number]}: {duration(left_s)} left"
        )
        at = max(at, until)
    medians = [(job.id, guess.median_s) for job in order if (guess := forecast.durations.soon(job.work)) is not None]
    stretch = max(0.0, end - at) / (sum(median_s for _, median_s in medians) or 1.0)
    for number, median_s in medians[:MOST_PLANNED]:
        since, at = at, at + median_s * stretch
        yield _Planned(since, at, forecast.family(number), f"{forecast.names[number]}: about {duration(median_s)}")


def _heat(telemetry: TelemetryReader, axis: _Axis, now: float) -> Iterator[Block]:
    """Yield a block for each stretch that has a sample with a known heat, neighbours of one level as one."""
    step_s, open_since, level = (now - axis.begin) / HEAT_BINS, axis.begin, None
    for number in range(HEAT_BINS + 1):
        at = axis.begin + number * step_s
        here = _level(telemetry.select(_SAMPLE, at, at + step_s)) if number < HEAT_BINS else None
        if here != level:
            if level is not None:
                yield axis.block(open_since, at, level, f"heat {level}")
            open_since, level = at, here


def _level(rows: list[tuple[Any, ...]]) -> str | None:
    try:
        reading = json.loads(rows[0][1]) if rows and rows[0][1] else {}
    except ValueError:
        return None
    if not isinstance(reading, dict):
        return None
    level = reading.get("level")
    if level in KNOWN_HEAT:
        return str(level)
    return {True: "heavy", False: "nominal"}.get(reading["throttled"]) if "throttled" in reading else None
