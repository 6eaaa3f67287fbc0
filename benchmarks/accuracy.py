"""How good the best model and the best ensemble of each horizon are, beside naive, drift and automatic ARIMA on the same rows.

    python -m benchmarks accuracy                            the mini week through the queue, then its table
    python -m benchmarks.accuracy STATE_DIR REPO_DIR         the table of a week that has run

The validation block chooses both, as on the boards; the backtest judges them. MASE, its interval against naive's and "told
apart" are the board's; the interval against automatic ARIMA is that of the same test on the errors of both, row by row.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import mini_week
from benchmarks.installation import installation
from benchmarks.measuring import Line
from benchmarks.report import write_markdown
from cbi_queue.datasets.place import DEFAULT
from cbi_queue.errors import CbiError, Refused
from cbi_queue.ledger import Ledger
from cbi_queue.ledger.queries import brief_jobs, scored_jobs
from cbi_queue.models.kinds import HORIZON_DAYS, HORIZONS, Family
from cbi_queue.views.board_words import TOLD_APART_WORDS
from cbi_queue.views.leaderboard import NAIVE, rank
from cbi_queue.views.results import forecast_files
from cbi_queue.views.winner import ranked_models
from cbi_queue.wording import UNKNOWN, counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from cbi_queue.ledger import JobRow
    from cbi_queue.views.leaderboard import LeaderboardRow

MARK = "accuracy"
ONLY: frozenset[str] | None = None
"""Names of the jobs of the mini week that are run; None: all of them."""
SINGLE, ENSEMBLE, ARIMA = "best single model", "best ensemble", "automatic ARIMA"
ROLES = (NAIVE, "drift", ARIMA, SINGLE, ENSEMBLE)
HEAD = ("horizon", "model", "MASE", "less naive's (95 %)", "told apart", "less automatic ARIMA's (95 %)")
AUTOGLUON = "AutoGluon, fast preset: not measured, its installation (1.2 GB) had not ended after 330 s"


@dataclass(frozen=True, slots=True)
class Entry:
    """One model of one horizon. None: no such figure."""

    role: str
    """One of `ROLES`."""
    row: LeaderboardRow | None
    """Its row on the board; None: the week has no such model there."""
    naive_mase: float | None
    against_arima: tuple[float, float, float] | None = None
    """MASE less that of automatic ARIMA, and its 95 % interval; None: itself, or too few independent rows to say."""

    @property
    def against_naive(self) -> tuple[float, float, float] | None:
        """MASE less that of naive, and its 95 % interval; None where the board has none."""
        row, naive = self.row, self.naive_mase
        if row is None or naive is None or row.skill is None or row.skill_low is None or row.skill_high is None:
            return None
        return -row.skill * naive, -row.skill_high * naive, -row.skill_low * naive

    @property
    def cells(self) -> tuple[str, ...]:
        """The cells of its line, without the horizon."""
        if self.row is None or self.row.mase is None:
            return f"{self.role}: {_absence(self.row)}", *(UNKNOWN,) * 4
        named = self.role if self.role == NAIVE else f"{self.role}: `{self.row.name}`"
        apart = "baseline" if self.role == NAIVE else TOLD_APART_WORDS.get(self.row.told_apart or "", UNKNOWN)
        own = _interval(self.against_naive, self.row.mase, self.naive_mase)
        return named, f"{self.row.mase:.3f}", own, apart, _interval(self.against_arima)


@dataclass(frozen=True, slots=True)
class Compared:
    """One horizon."""

    horizon: str
    entries: tuple[Entry, ...]
    """In the order of `ROLES`."""
    independent: float | None
    words: tuple[str, ...]
    """What limits the comparison, a sentence each."""


def lines(rounds: int) -> list[Line]:
    """Run the mini week *rounds* times; of each horizon, MASE over naive's of the two that were chosen."""
    found: dict[tuple[str, str], list[Entry]] = {}
    for _ in range(rounds):
        with installation() as home:
            mini_week.build_sample(home)
            mini_week.through_queue(home, ONLY)
            for compared in week_of(home.settings.ledger_path, home.settings.models):
                for entry in compared.entries:
                    if entry.role in {SINGLE, ENSEMBLE} and entry.row is not None:
                        found.setdefault((compared.horizon, entry.role), []).append(entry)
    return [
        Line(
            f"{horizon}, {role}: MASE / naive's",
            "x",
            tuple(1.0 - skill for entry in entries if entry.row and (skill := entry.row.skill) is not None),
            note="; ".join(" ".join(entry.cells[i] for i in (0, 2, 3)) for entry in entries),
        )
        for (horizon, role), entries in found.items()
    ]


def week_of(ledger_path: Path, models: Path) -> list[Compared]:
    """Compare the models of every horizon that has a ranked one.

    Args:
        ledger_path: ledger of a queue that has ended.
        models: where run folders are, if not where the ledger has them.

    Raises:
        Refused: when there is no ledger, a job has not ended, or nothing is ranked.
    """
    if not ledger_path.is_file():
        raise Refused(
            f"there is no queue to read: {ledger_path} does not exist", hint="name the state folder of a week"
        )
    with Ledger.open_readonly(ledger_path) as ledger:
        pending = [job.name for job in brief_jobs(ledger) if not job.state.is_final]
        if pending:
            said = f"{counted(len(pending), 'job')} of {ledger_path.parent} not ended yet, the first is {pending[0]}"
            raise Refused(f"{said}: a best model would be the best of a part", hint="wait until the queue is empty")
        jobs = [job for job in scored_jobs(ledger) if job.dataset == DEFAULT]
        found = [compare(ledger, jobs, horizon, models) for horizon in HORIZONS if _is_ranked(jobs, horizon)]
    if not found:
        raise Refused(
            f"no model of the queue in {ledger_path.parent} is ranked", hint="`cbi-queue leaderboard` says why"
        )
    return found


def compare(ledger: Ledger, jobs: Sequence[JobRow], horizon: str, models: Path) -> Compared:
    """Compare what the validation block of *horizon* chose with the others of its board, on the backtest."""
    of_horizon = [job for job in jobs if job.horizon == horizon]
    ranked = ranked_models(of_horizon, horizon)
    board = rank(of_horizon)[ranked[0].board]
    singles = [found.row for found in ranked if found.job.family != Family.META]
    ensembles = [found.row for found in ranked if found.job.family == Family.META]
    rows = dict.fromkeys(ROLES) | {
        NAIVE: _first(board, NAIVE),
        "drift": _first(board, "drift"),
        ARIMA: _first(board, "auto_arima"),
        SINGLE: next(iter(singles), None),
        ENSEMBLE: next(iter(ensembles), None),
    }
    naive_mase = rows[NAIVE].mase if rows[NAIVE] else None
    trained = {row.job_id: row for row in rows.values() if row is not None and row.mase is not None and row.job_id}
    files, faults = forecast_files(ledger, [job for job in of_horizon if job.id in trained], models)
    runs = [{"name": trained[file["job_id"]].name, "predictions": file["path"]} for file in files]
    losses, shared = _losses(runs)
    words = [
        f"{horizon}: the forecasts of {trained[number].name} cannot be read: {why}." for number, why in faults.items()
    ]
    if files and any(row.rows != shared for row in trained.values()):
        scored = ", ".join(f"{row.name} {row.rows}" for row in trained.values())
        words.append(f"{horizon}: not all were scored on the same rows, they share {shared} ({scored}).")
    entries = tuple(
        Entry(role, row, naive_mase, _paired(row, rows[ARIMA], losses, horizon)) for role, row in rows.items()
    )
    return Compared(horizon, entries, singles[0].independent if singles else ranked[0].row.independent, tuple(words))


def as_table(week: Sequence[Compared]) -> str:
    """Write the Markdown table, with a line above it and what limits it below."""
    rows = [HEAD, ("---",) * len(HEAD), *((found.horizon, *entry.cells) for found in week for entry in found.entries)]
    rows.append(("all", AUTOGLUON, *(UNKNOWN,) * 4))
    independent = ", ".join(f"{found.horizon} {found.independent or 0.0:.0f}" for found in week)
    text = [f"Independent rows of the backtest: {independent}. A negative difference is a smaller error:", ""]
    text += [f"| {' | '.join(row)} |" for row in rows]
    words = [words for found in week for words in found.words]
    return "\n".join([*text, *(["", *words] if words else [])]) + "\n"


def _is_ranked(jobs: Sequence[JobRow], horizon: str) -> bool:
    try:
        return bool(ranked_models(jobs, horizon))
    except Refused:
        return False


def _first(board: Sequence[LeaderboardRow], model: str) -> LeaderboardRow | None:
    """Return the row of *model* that the validation block ranks first; one without a place if no other is there."""
    return next((row for row in board if row.model == model), None)


def _absence(row: LeaderboardRow | None) -> str:
    if row is None or row.job_id is None:
        return "none on this board"
    return (
        f"`{row.name}` was vetoed"
        if row.veto
        else f"`{row.name}` is damaged"
        if row.damage
        else f"`{row.name}` has no score"
    )


def _losses(runs: list[dict[str, str]]) -> tuple[dict[str, np.ndarray], int]:
    from jobs.comparison import price_losses  # imports numpy and arch, which the registry need not

    return price_losses(runs)


def _paired(
    row: LeaderboardRow | None, arima: LeaderboardRow | None, losses: dict[str, np.ndarray], horizon: str
) -> tuple[float, float, float] | None:
    """Return MASE less that of automatic ARIMA on the rows that all share, and its 95 % interval."""
    from jobs.evaluation.significance import skill_test

    if row is None or arima is None or not arima.mase or row.name == arima.name:
        return None
    own, theirs = losses.get(NAIVE if row.model == NAIVE else row.name), losses.get(arima.name)
    if own is None or theirs is None:
        return None
    tested = skill_test(own, theirs, HORIZON_DAYS[horizon])
    if tested.low is None or tested.high is None:
        return None
    skill = 1.0 - float(own.sum() / theirs.sum())
    return -skill * arima.mase, -tested.high * arima.mase, -tested.low * arima.mase


def _interval(
    difference: tuple[float, float, float] | None, mase: float | None = None, naive: float | None = None
) -> str:
    """Write a difference with its interval; alone where there is none."""
    if difference is not None:
        value, low, high = difference
        return f"{value:+.3f} ({low:+.3f} to {high:+.3f})"
    if mase is None or naive is None:
        return UNKNOWN
    return "0" if mase == naive else f"{mase - naive:+.3f}"


def _options() -> argparse.Namespace:
    words = "example: python -m benchmarks.accuracy .week/state .week/CBI-V14 --markdown docs/forecasting.md"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], epilog=words)
    parser.add_argument("state_dir", type=Path, metavar="STATE_DIR", help="state folder of a week that has ended")
    parser.add_argument("repo_dir", type=Path, metavar="REPO_DIR", help="its data folder, in which Models/ is")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help=f"put the table between its marks ({MARK})")
    return parser.parse_args()


def main() -> int:
    """Read the week, print the table, put it into a file."""
    options = _options()
    try:
        table = as_table(week_of(options.state_dir / "ledger.db", options.repo_dir / "Models"))
    except CbiError as exc:
        print(f"error: {exc}\nhint: {exc.hint}", file=sys.stderr)
        return 2
    print(table)
    if options.markdown:
        write_markdown(options.markdown, table, MARK)
    return 0


if __name__ == "__main__":
    sys.exit(main())
