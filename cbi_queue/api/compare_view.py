"""What the page of two runs shows: parameters, scores, whether they are told apart, what each would have made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cbi_queue.api.board_columns import COLUMNS
from cbi_queue.api.board_view import BoardRow, board_row
from cbi_queue.child_answers import answer_of
from cbi_queue.ledger import queries
from cbi_queue.ledger.listing import Wanted
from cbi_queue.models.kinds import HORIZON_DAYS
from cbi_queue.views.backtest import words_of
from cbi_queue.views.board_words import reach
from cbi_queue.views.boards import boards_of, comparable, scheme_of
from cbi_queue.views.pair import asked_of, verdict
from cbi_queue.views.results import forecast_files
from cbi_queue.wording import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from cbi_queue.api.asked_once import AskedOnce
    from cbi_queue.api.board_page import Boards
    from cbi_queue.ledger import JobRow, Ledger
    from cbi_queue.settings import Settings

WITHIN_S = 120.0
NOT_TESTED = (
    "Not tested: only two runs of one board of price or volatility that both count (not vetoed, damaged or replaced) "
    "were judged on the same rows."
)
LONGEST_VALUE = 400
"""Letters of a parameter that are shown."""


@dataclass(frozen=True, slots=True)
class Line:
    """One parameter or score of both runs."""

    name: str
    words: str
    """What it means; empty for a parameter."""
    values: tuple[str, str]

    @property
    def differs(self) -> bool:
        """True when the runs differ in it."""
        return self.values[0] != self.values[1]


@dataclass(frozen=True, slots=True)
class ComparePage:
    """Everything that the template needs."""

    jobs: tuple[JobRow, JobRow]
    params: tuple[Line, ...]
    scores: tuple[Line, ...]
    rows: tuple[BoardRow | None, BoardRow | None]
    """Of each run on its board; None: it is on none."""
    said: str
    """Whether they can be told apart from each other."""
    side: str
    """better | worse | no | "" while it is not known."""
    is_waiting: bool
    """True while it is being computed."""
    trade: dict[str, Any] | None
    """What `jobs.backtest` returned of both; None: nothing was traded."""
    trade_words: tuple[str, ...]
    title: str
    """Of the board that both are on; empty: of none."""


@dataclass(frozen=True, slots=True)
class _Pair:
    jobs: tuple[JobRow, JobRow]
    board: tuple[JobRow, ...]
    """The runs of the board of both whose scores count; empty where they are on no board together."""
    title: str
    of: str


def compare_page(
    settings: Settings, ledger: Ledger, boards: Boards, asked_once: AskedOnce, numbers: tuple[int, int]
) -> ComparePage:
    """Read two runs, and have what is not known of them computed in the background.

    Raises:
        UnknownJob: when there is no such job.
    """
    whole = tuple(queries.job_numbered(ledger, number) for number in numbers)
    found = [_row_of(job.id, boards.found) for job in whole]
    pair = _pair(ledger, whole)
    answer, fault, waits = _answer(settings, ledger, asked_once, pair)
    said, side = _said(pair, answer, fault)
    trade = answer.get("trade") if answer else None
    traded = trade if trade and trade["rows"] else None
    words = [*words_of(trade, scheme_of(pair.jobs[0]))] if traded and trade else []
    words += [f"{name} was left out: {why}" for name, why in (trade or {}).get("left_out", {}).items()]
    return ComparePage(
        jobs=pair.jobs,
        params=tuple(_params(pair.jobs)),
        scores=tuple(_scores(found)),
        rows=(found[0][1], found[1][1]),
        said=said,
        side=side,
        is_waiting=waits,
        trade=traded,
        trade_words=tuple(words),
        title=pair.title,
    )


def traded_pair(
    settings: Settings, ledger: Ledger, asked_once: AskedOnce, numbers: tuple[int, int]
) -> tuple[str, dict[str, Any] | None]:
    """Return the title of the board of two runs, and what they would have made; None: not known."""
    whole = tuple(queries.job_numbered(ledger, number) for number in numbers)
    pair = _pair(ledger, whole)
    answer, _, _ = _answer(settings, ledger, asked_once, pair)
    trade = answer.get("trade") if answer else None
    return pair.title, trade if trade and trade["rows"] else None


def _pair(ledger: Ledger, whole: tuple[JobRow, ...]) -> _Pair:
    where, values = Wanted(horizon=whole[0].horizon, dataset=whole[0].dataset).where()
    scored = queries.scored_jobs(ledger, where, *values)
    ids = {job.id for job in whole}
    kinds = {"price": boards_of(scored), "volatility": boards_of(scored, "volatility")}
    for of, boards in kinds.items():
        for title, listed in boards.items():
            counted = comparable(listed)
            if ids <= {job.id for job in counted}:
                return _Pair((whole[0], whole[1]), tuple(counted), title, of)
    return _Pair((whole[0], whole[1]), (), "", "")


def _answer(
    settings: Settings, ledger: Ledger, asked_once: AskedOnce, pair: _Pair
) -> tuple[dict[str, Any] | None, str, bool]:
    """Return what `jobs.pair` answered, why it did not, and whether that is still to come."""
    if not pair.board or pair.jobs[0].horizon not in HORIZON_DAYS:
        return None, "", False
    files, faults = forecast_files(ledger, pair.jobs, settings.models)
    by_id = {file["job_id"]: file for file in files}
    missing = [f"{job.name}: {faults.get(job.id, 'it left no forecasts')}" for job in pair.jobs if job.id not in by_id]
    if missing:
        return None, "; ".join(missing), False
    asked = asked_of(pair.jobs, pair.board, [by_id[job.id] for job in pair.jobs], pair.of)
    key = ("pair", *(by_id[job.id]["sha256"] for job in pair.jobs), *(job.id for job in pair.board))

    def ask() -> dict[str, Any]:
        return answer_of(
            "jobs.pair", asked, settings.interpreter_for("native"), within_s=WITHIN_S, to="compare two runs",
            work="the comparison of two runs", hint="`cbi-queue verify` checks the runs",
        )  # fmt: skip

    answer, fault = asked_once.answer(key, ask)
    return answer, fault, answer is None and not fault


def _said(pair: _Pair, answer: Mapping[str, Any] | None, fault: str) -> tuple[str, str]:
    if fault:
        return f"Not known: {fault}.", ""
    if not pair.board:
        return NOT_TESTED, ""
    if answer is None:
        return "Not known yet: the forecasts of both are being compared.", ""
    side, words = verdict(answer, pair.jobs, len(pair.board), pair.of)
    return words, side


def _row_of(number: int, boards: Mapping[str, tuple[str, Sequence[Any], list[str]]]) -> tuple[str, BoardRow | None]:
    for kind, rows, _ in boards.values():
        for row in rows:
            if row.job_id == number:
                return kind, board_row(row, reach(rows))
    return "", None


def _scores(found: Sequence[tuple[str, BoardRow | None]]) -> Iterator[Line]:
    kinds = dict.fromkeys(kind for kind, line in found if line is not None)
    columns = dict.fromkeys(column for kind in kinds for column in COLUMNS[kind] if column.key != "verdicts")
    for column in columns:
        first, second = (
            column.form(getattr(line.row, column.key)) if line and hasattr(line.row, column.key) else UNKNOWN
            for _, line in found
        )
        if (first, second) != (UNKNOWN, UNKNOWN):
            yield Line(column.title, column.words, (first, second))


def _params(pair: tuple[JobRow, JobRow]) -> Iterator[Line]:
    known = [
        {"snapshot": job.snapshot, **dict(_flat({k: v for k, v in job.spec.items() if k != "name"}))} for job in pair
    ]
    names: Iterable[str] = dict.fromkeys(name for one in known for name in one)
    for name in names:
        yield Line(name.removeprefix("params."), "", (_written(known[0], name), _written(known[1], name)))


def _flat(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value


def _written(values: Mapping[str, Any], name: str) -> str:
    if name not in values:
        return UNKNOWN
    value = values[name]
    words = "none" if value is None else ("yes" if value else "no") if isinstance(value, bool) else str(value)
    return words[:LONGEST_VALUE]
