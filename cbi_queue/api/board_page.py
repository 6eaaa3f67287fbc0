"""What the board page shows: every board whole, filtered and sorted as the address says. Read-only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from cbi_queue.api.board_columns import COLUMNS, FIXED, Column
from cbi_queue.api.board_view import BoardRow, board_row
from cbi_queue.ledger import Ledger, queries
from cbi_queue.views.board_words import (
    independent_words,
    reach,
    regime_sentences,
    sentences,
    unranked,
    volatility_sentences,
)
from cbi_queue.views.boards import SCHEME_WORDS
from cbi_queue.views.comparison import FILE_NAME
from cbi_queue.views.history import file_stamp
from cbi_queue.views.leaderboard import LeaderboardRow, rank
from cbi_queue.views.project_board import rank_projects, shown_figures
from cbi_queue.views.project_board import sentences as project_sentences
from cbi_queue.views.regime_board import rank_regimes
from cbi_queue.views.volatility_board import VolatilityRow, rank_volatility

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from cbi_queue.api.board_view import AnyRow, Comparer
    from cbi_queue.ledger import JobRow
    from cbi_queue.settings import Settings
    from cbi_queue.views.comparison import Comparison
    from cbi_queue.views.project_board import ProjectRow

KEY_DIGITS = 12
MODELS_SHOWN, BARS_SHOWN = 50, 5
"""Models and baselines of one board: nobody reads more, and a browser is slow with them."""
FIGURES_SHOWN = 8
"""Figures of a project; `leaderboard --project NAME --wide` has all."""
_WORDS = ("name", "family", "model", "told_apart")
"""Columns that are sorted as text."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What the address asks for; empty: everything, in the order of the boards."""

    horizon: str = ""
    dataset: str = ""
    family: str = ""
    sort: str = "place"
    order: str = "asc"

    def link(self, key: str) -> str:
        """Return the address that sorts by *key*, the other way round when it is sorted by it already."""
        turned = "desc" if self.sort == key and self.order == "asc" else "asc"
        first = "asc" if key in {*_WORDS, "place", "rows", "p_value"} else "desc"
        order = turned if self.sort == key else first
        asked = {"horizon": self.horizon, "dataset": self.dataset, "family": self.family, "sort": key, "order": order}
        return "/board?" + urlencode({name: value for name, value in asked.items() if value})

    def sorted_words(self, key: str) -> str:
        """Return the value of `aria-sort`; empty for another column."""
        return {"asc": "ascending", "desc": "descending"}[self.order] if key == self.sort else ""


@dataclass(frozen=True, slots=True)
class WholeBoard:
    """One board with all of its columns."""

    title: str
    kind: str
    facts: str
    """What is the same for all of its rows."""
    rows: tuple[BoardRow, ...]
    more: int
    """Models and baselines that are not shown."""
    sentences: tuple[str, ...]
    columns: tuple[Column, ...]


@dataclass(frozen=True, slots=True)
class ProjectBoard:
    """The runs of one project of scripts."""

    project: str
    rows: tuple[ProjectRow, ...]
    figures: tuple[str, ...]
    sentences: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BoardPage:
    """Everything that the template needs."""

    asked: Asked
    boards: tuple[WholeBoard, ...]
    horizons: tuple[str, ...]
    datasets: tuple[str, ...]
    families: tuple[str, ...]
    family_of: Mapping[int, str]
    is_empty: bool
    """True when nothing was scored yet."""
    projects: tuple[ProjectBoard, ...] = ()
    """Boards of scripts; none while the address asks for boards of forecasts."""


@dataclass(frozen=True, slots=True)
class Boards:
    """Every board, at one instant."""

    version: tuple[object, ...]
    """Another one: something of them may have changed."""
    found: Mapping[str, tuple[str, Sequence[AnyRow], list[str]]]
    """Of forecasts, as `all_boards` returns them."""
    projects: Mapping[str, list[ProjectRow]]
    """Of scripts."""


def read_boards(settings: Settings, comparer: Comparer) -> Boards:
    """Read every board; the first time, of 100,000 runs, it takes many seconds.

    Raises:
        LedgerError: when the ledger cannot be read.
    """
    with Ledger.open_readonly(settings.ledger_path) as ledger, ledger.snapshot():
        version = (ledger.ledger_id, queries.newest_event(ledger), file_stamp(settings.state_dir / FILE_NAME))
        found = comparer.kept(ledger, "board", all_boards)
        return Boards(version, found, rank_projects(queries.script_results(ledger)))


def board_page(boards: Boards, asked: Asked) -> BoardPage:
    """Keep the boards that are asked for, and sort their rows."""
    is_filtered = bool(asked.horizon or asked.dataset or asked.family)
    projects = () if is_filtered else tuple(_projects(boards.projects))
    found = boards.found
    family_of = {row.job_id: row.family for _, rows, _ in found.values() for row in rows if row.job_id is not None}
    first = {title: rows[0] for title, (_, rows, _) in found.items() if rows}
    kept = [
        _board(title, kind, (rows, said), asked, family_of)
        for title, (kind, rows, said) in found.items()
        if rows and asked.horizon in {"", rows[0].horizon} and asked.dataset in {"", rows[0].dataset}
    ]
    return BoardPage(
        asked,
        boards=tuple(board for board in kept if any(not line.row.is_bar for line in board.rows) or not asked.family),
        horizons=tuple(dict.fromkeys(row.horizon for row in first.values())),
        datasets=tuple(dict.fromkeys(row.dataset for row in first.values())),
        families=tuple(sorted(set(family_of.values()))),
        family_of=family_of,
        is_empty=not found and not projects,
        projects=projects,
    )


def _projects(boards: Mapping[str, list[ProjectRow]]) -> Iterator[ProjectBoard]:
    for project, rows in boards.items():
        yield ProjectBoard(
            project, tuple(rows), tuple(shown_figures(rows, FIGURES_SHOWN)), tuple(project_sentences(rows))
        )


def all_boards(
    jobs: list[JobRow], comparisons: Mapping[str, Comparison]
) -> dict[str, tuple[str, Sequence[AnyRow], list[str]]]:
    """Return title -> kind (price, volatility, regime), all rows best first, and what may be believed."""
    found: dict[str, tuple[str, Sequence[AnyRow], list[str]]] = {}
    for title, prices in rank(jobs, comparisons).items():
        found[title] = ("price", prices, [*sentences(prices, comparisons.get(title)), *unranked(prices)])
    for title, variances in rank_volatility(jobs, comparisons).items():
        said = [*volatility_sentences(variances, comparisons.get(title)), *unranked(variances)]
        found[title] = ("volatility", variances, said)
    for title, regimes in rank_regimes(jobs).items():
        found[title] = ("regime", regimes, [*regime_sentences(regimes), *unranked(regimes)])
    return found


def _board(
    title: str,
    kind: str,
    found: tuple[Sequence[AnyRow], list[str]],
    asked: Asked,
    family_of: Mapping[int, str],
) -> WholeBoard:
    rows, said = found
    upto = reach(rows)
    kept = [row for row in rows if row.is_bar or asked.family in {"", family_of.get(row.job_id or 0)}]
    columns = COLUMNS[kind]
    shown = _sorted(kept, asked, {column.key for column in columns}, family_of)
    last = {
        id(row)
        for is_bar, most in ((False, MODELS_SHOWN), (True, BARS_SHOWN))
        for row in [row for row in shown if row.is_bar is is_bar][most:]
    }
    shown = [row for row in shown if id(row) not in last]
    return WholeBoard(
        title, kind, _facts(rows), tuple(board_row(row, upto) for row in shown),
        more=len(last), sentences=tuple(said), columns=columns,
    )  # fmt: skip


def _sorted(rows: Iterable[AnyRow], asked: Asked, there: set[str], family_of: Mapping[int, str]) -> list[AnyRow]:
    """Sort by the column that is asked for; rows without a value come last, whichever way; ties keep their order."""
    listed = list(rows)
    if asked.sort not in there | set(FIXED):
        return listed

    def value(row: AnyRow) -> Any:
        found = family_of.get(row.job_id or 0) if asked.sort == "family" else getattr(row, asked.sort, None)
        return found.casefold() if isinstance(found, str) else found

    known = [row for row in listed if value(row) is not None]
    return [
        *sorted(known, key=value, reverse=asked.order == "desc"),
        *(row for row in listed if value(row) is None),
    ]


def _facts(rows: Sequence[AnyRow]) -> str:
    """Write what all rows of a board share."""
    row = rows[0]
    words = [
        f"horizon {row.horizon}",
        f"data set {row.dataset}",
        f"snapshot {(row.snapshot or 'not recorded')[:KEY_DIGITS]}",
    ]
    if isinstance(row, LeaderboardRow | VolatilityRow):
        words.append(SCHEME_WORDS.get(row.scheme, row.scheme))
        tested = max(rows, key=_independent)
        if isinstance(tested, LeaderboardRow | VolatilityRow) and tested.independent is not None:
            words.append(independent_words(tested))
        if isinstance(tested, LeaderboardRow | VolatilityRow) and tested.periods_per_year is not None:
            words.append(f"{tested.periods_per_year:g} rows a year")
    if isinstance(row, LeaderboardRow):
        words.append(f"label {row.label}")
    return ", ".join(words)


_independent: Callable[[Any], float] = lambda row: getattr(row, "independent", None) or 0.0  # noqa: E731
