"""The boards as the page and the API show them, and the process that compares their models in the background."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from cbi_queue.api.scored_groups import TOO_MANY, ScoredGroups
from cbi_queue.errors import CbiError
from cbi_queue.ledger import Ledger
from cbi_queue.views.board_words import (
    TOLD_APART_WORDS,
    plot_of,
    reach,
    regime_sentences,
    sentences,
    unranked,
    volatility_sentences,
)
from cbi_queue.views.comparison import (
    FAILED,
    FILE_NAME,
    Comparison,
    finish_comparison,
    missing_groups,
    start_comparison,
    stored_comparisons,
)
from cbi_queue.views.history import file_stamp
from cbi_queue.views.leaderboard import rank
from cbi_queue.views.regime_board import RegimeRow, rank_regimes
from cbi_queue.views.volatility_board import rank_volatility

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from cbi_queue.ledger import JobRow
    from cbi_queue.settings import Settings
    from cbi_queue.views.leaderboard import LeaderboardRow
    from cbi_queue.views.volatility_board import VolatilityRow

    AnyRow = LeaderboardRow | VolatilityRow | RegimeRow

    Make = Callable[[list[JobRow], Mapping[str, Comparison]], dict[str, "T"]]

logger = logging.getLogger(__name__)
T = TypeVar("T")
PAGE = "page"
"""What the boards of the status page are kept under."""
MOST_AT_ONCE = 2_000
"""Runs that are read while a status page waits: some tenths of a second."""
PATIENCE_S = 0.2
"""Seconds that a status page waits for others who read the boards."""
MODELS_SHOWN = 4
"""Best models of each board on the page, beside one row of each baseline."""
MOST_TRIES = 3
"""Times that one board is compared when it fails each time."""
LOOK_AGAIN_S = 5.0
"""Seconds between looks for forecasts that were not there."""
RETRY_AFTER_S = 60.0
"""Seconds after a failure before a look at the page tries again: what was missing, such as a disk, may be back."""


@dataclass(frozen=True, slots=True)
class Interval:
    """The interval of a row as coordinates of a picture 100 wide, 50 is zero."""

    left: float
    width: float
    skill: float
    words: str
    """The same for those who do not see it."""


@dataclass(frozen=True, slots=True)
class BoardRow:
    """One row of a board, as the page shows it."""

    row: AnyRow
    interval: Interval | None
    told_apart: str

    @property
    def side(self) -> str:
        """`better` or `worse` for a model that is told apart from naive; else empty."""
        found = getattr(self.row, "told_apart", None)
        return found if found in {"better", "worse"} and not self.row.is_bar else ""

    @property
    def is_untrained(self) -> bool:
        """True for a baseline that nobody has trained, and whose scores no model brings along."""
        return self.row.job_id is None and self.row.rows is None


@dataclass(frozen=True, slots=True)
class Board:
    """The top of one board."""

    title: str
    rows: tuple[BoardRow, ...]
    more: int
    """Rows that are not shown."""
    sentences: tuple[str, ...]
    horizon: str = ""
    kind: str = "price"
    """price | volatility | regime."""

    @property
    def headline(self) -> str:
        """The first sentence, which is always to be seen."""
        return self.sentences[0] if self.sentences else ""


@dataclass(frozen=True, slots=True)
class _Failed:
    """What is known of a board whose comparison failed."""

    tries: int
    again_at: float
    """Monotonic seconds from which a look tries again."""
    why: str


class Comparer:
    """Compares the models of boards in a process beside the page's: at most one at a time, and what failed a few times."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings, self._clock = settings, clock
        self._one = threading.Lock()
        self._failed: dict[str, _Failed] = {}
        self.news = 0
        """Comparisons that failed so far, and boards that were read in the background: pages tell of each."""
        self._reads, self._scored = threading.Lock(), ScoredGroups()
        self._stored: tuple[tuple[int, ...] | None, dict[str, Comparison]] = (None, {})
        """Stamp of the file of comparisons -> what it holds."""
        self._looked: tuple[set[str], float] = (set(), 0.0)
        """Keys of the boards that were not compared at the last look for what can be, and when that was."""
        self._shown: tuple[Board, ...] | None = None
        self._reader: threading.Thread | None = None
        self._child: subprocess.Popen[str] | None = None
        self._thread: threading.Thread | None = None

    def boards(self, ledger: Ledger) -> tuple[Board, ...] | None:
        """Return the boards of the status page, which never waits for a long history.

        Where more than `MOST_AT_ONCE` runs are to be read, that is done in the background, and the boards of before are
        returned; None while there were none.
        """
        if not self._reads.acquire(timeout=PATIENCE_S):
            return self._shown
        try:
            self._scored.update(ledger)
            is_quick = self._scored.pending(PAGE) <= MOST_AT_ONCE
        finally:
            self._reads.release()
        if is_quick:
            self._shown = tuple(self.kept(ledger, PAGE, page_boards).values())
        elif self._reader is None or not self._reader.is_alive():
            self._reader = threading.Thread(target=self._read, name="boards of the page", daemon=True)
            self._reader.start()
        return self._shown

    def _read(self) -> None:
        try:
            with Ledger.open_readonly(self._settings.ledger_path) as ledger:
                self._shown = tuple(self.kept(ledger, PAGE, page_boards).values())
        except (CbiError, sqlite3.Error):
            logger.exception("the boards could not be read")
        self.news += 1

    def kept(self, ledger: Ledger, name: str, make: Make[T]) -> dict[str, T]:
        """Return title -> what *make* makes of a board, in the order of the boards.

        What was made is kept under *name*, and made again of the data sets and horizons that have changed. What is missing
        of the comparisons is computed in the background, and not waited for.
        """
        with self._reads, ledger.snapshot():
            self._scored.update(ledger)
            stored = self._comparisons()
            made: dict[str, T] = {}
            missing: dict[str, tuple[str, list[JobRow]]] = {}
            for group, jobs in self._scored.listed(ledger):
                group.settle(jobs)
                known = {title: stored[key] for title, key in group.keys.items() if key in stored}
                for title, key in group.keys.items():
                    if title in known:
                        continue
                    if title not in group.comparable:
                        known[title] = TOO_MANY
                        continue
                    missing[key] = (title, group.comparable[title])
                    if (failed := self._failed.get(key)) is not None:
                        known[title] = Comparison(fault=failed.why)
                made |= group.made(name, make, jobs, known)
            self._start(missing)
            return self._scored.in_order(made)

    def _comparisons(self) -> dict[str, Comparison]:
        path = self._settings.state_dir / FILE_NAME
        if self._stored[0] != (stamp := file_stamp(path)):
            self._stored = (stamp, stored_comparisons(path))
        return self._stored[1]

    def _start(self, missing: Mapping[str, tuple[str, list[JobRow]]]) -> None:
        """Start to compute what is *missing*: key of a board -> its title and jobs.

        What cannot be computed is looked at again after `LOOK_AGAIN_S`.
        """
        before, at = self._looked
        is_same = before == missing.keys() and abs(self._clock() - at) < LOOK_AGAIN_S
        if not missing or is_same or not self._one.acquire(blocking=False):
            return
        self._looked = (set(missing), self._clock())
        path = self._settings.state_dir / FILE_NAME
        found = missing_groups(path, dict(missing.values()))
        groups = {key: group for key, group in found.items() if self._may_try(key)}
        if not groups:
            self._one.release()
            return
        self._thread = threading.Thread(target=self._compute, args=(groups, path), name="comparer", daemon=True)
        self._thread.start()

    def _may_try(self, key: str) -> bool:
        failed = self._failed.get(key)
        return failed is None or (failed.tries < MOST_TRIES and self._clock() >= failed.again_at)

    def _compute(self, groups: Mapping[str, dict[str, object]], path: Path) -> None:
        interpreter, fault = self._settings.interpreter_for("native"), None
        try:
            self._child = start_comparison(interpreter)
            fault = finish_comparison(self._child, groups, path)
        except OSError as exc:
            fault = f"{FAILED}: {interpreter} cannot be started: {exc.strerror}"
        finally:
            self._child = None
            self._note(groups.keys() - stored_comparisons(path).keys(), fault)
            self._one.release()

    def _note(self, failed: Iterable[str], fault: str | None) -> None:
        """Remember why boards could not be compared, and when a look tries again."""
        words = (fault or FAILED).rstrip(".")
        self.news += 1
        for key in failed:
            tries = self._failed[key].tries + 1 if key in self._failed else 1
            then = (
                f"tried again at the next look after {RETRY_AFTER_S:.0f} s"
                if tries < MOST_TRIES
                else f"tried {tries} times; `cbi-queue leaderboard` tries it again"
            )
            said = f"{words[0].upper()}{words[1:]} ({then})."
            self._failed[key] = _Failed(tries, self._clock() + RETRY_AFTER_S, said)

    def close(self) -> None:
        """End a comparison that is under way."""
        child, thread = self._child, self._thread
        if child is not None:
            child.kill()
        if thread is not None:
            thread.join()


def page_boards(jobs: list[JobRow], comparisons: Mapping[str, Comparison]) -> dict[str, Board]:
    """Return title -> board of the page: of forecasts of the price, of volatility, of regimes."""
    prices = [
        _board(title, rows, sentences(rows, comparisons.get(title))) for title, rows in rank(jobs, comparisons).items()
    ]
    volatility = [
        replace(_board(title, rows, volatility_sentences(rows, comparisons.get(title))), kind="volatility")
        for title, rows in rank_volatility(jobs, comparisons).items()
    ]
    regimes = [
        replace(_board(title, rows, regime_sentences(rows)), kind="regime")
        for title, rows in rank_regimes(jobs).items()
    ]
    return {board.title: board for board in (*prices, *volatility, *regimes)}


def _board(title: str, rows: Sequence[AnyRow], words: list[str]) -> Board:
    vetoed = [row for row in rows if row.veto is not None]
    best = [row for row in rows if not row.is_bar and row.place is not None][:MODELS_SHOWN]
    bars = {row.model: row for row in reversed(rows) if row.is_bar}
    shown = [row for row in rows if row in best or row.damage is not None or row is bars.get(row.model)]
    upto = reach(shown)
    left_out = len(rows) - len(vetoed) - len(shown)
    said = (*words, *unranked(vetoed))
    horizon = next((row.horizon for row in rows if row.horizon), title.split(" ", maxsplit=1)[0].rstrip(","))
    return Board(title, tuple(board_row(row, upto) for row in shown), more=left_out, sentences=said, horizon=horizon)


def board_row(row: AnyRow, upto: float) -> BoardRow:
    """Return a row as a page shows it; *upto* is the reach of its board (`board_words.reach`)."""
    words = "baseline" if row.is_bar else TOLD_APART_WORDS.get(getattr(row, "told_apart", None) or "", "")
    return BoardRow(row, _interval(row, upto), words)


def _interval(row: AnyRow, upto: float) -> Interval | None:
    plot = plot_of(row, upto)
    if plot is None or row.skill is None:
        return None
    low, high, skill = (round(50.0 + 50.0 * share, 1) for share in (plot.low, plot.high, plot.skill))
    if row.skill_low is None or row.skill_high is None:
        words = f"skill {row.skill:+.3f}, no interval"
    else:
        words = f"skill {row.skill:+.3f}, 95 % interval from {row.skill_low:+.3f} to {row.skill_high:+.3f}"
    return Interval(low, round(high - low, 1), skill, words)
