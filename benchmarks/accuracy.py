"""How good the best model and the best ensemble of each horizon are, beside naive, drift, automatic ARIMA and AutoGluon.

    python -m benchmarks.accuracy FOLDER --markdown docs/forecasting.md

runs the plan beside this file (`accuracy.yaml`) on the sample, each horizon through a queue of its own below FOLDER, lets
AutoGluon forecast the same rows, and writes the table. Stopped, it goes on where it was. A FOLDER that holds a queue itself
(`.week`, of `make week`) is read as it is.

The validation block chooses both, as on the boards; the backtest judges them. MASE, its interval against naive's and "told
apart" are the board's. AutoGluon is not on it: its interval, and all against automatic ARIMA, are of the same test on the
errors of both, row by row.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from benchmarks import autogluon, mini_week
from benchmarks.installation import Installation
from benchmarks.measuring import Line
from benchmarks.report import write_markdown
from cbi_queue.datasets.place import DEFAULT
from cbi_queue.errors import CbiError, Refused
from cbi_queue.hardware.detection import AUTO, profile_for
from cbi_queue.ledger import Ledger
from cbi_queue.ledger.enqueue import enqueue
from cbi_queue.ledger.queries import brief_jobs, job_numbered, scored_jobs
from cbi_queue.models.kinds import HORIZON_DAYS, HORIZONS, Family
from cbi_queue.plan import read_plans
from cbi_queue.spec import JobSpec
from cbi_queue.views.board_words import TOLD_APART_WORDS
from cbi_queue.views.leaderboard import NAIVE, rank
from cbi_queue.views.results import forecast_files
from cbi_queue.views.winner import ranked_models
from cbi_queue.wording import UNKNOWN, counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from cbi_queue.ledger import JobRow
    from cbi_queue.models.parameters.common import EvaluationParams
    from cbi_queue.views.leaderboard import LeaderboardRow

MARK = "accuracy"
PLAN = Path(__file__).with_suffix(".yaml")
ONLY: frozenset[str] | None = None
"""Names of the jobs of the plan that are run; None: all of them."""
AUTOGLUON_PYTHON: Path | None = autogluon.PYTHON
"""Python that has AutoGluon; None: it is left out."""
SINGLE, ENSEMBLE, ARIMA, AUTOGLUON = "best single model", "best ensemble", "automatic ARIMA", "AutoGluon, fast preset"
ROLES = (NAIVE, "drift", ARIMA, AUTOGLUON, SINGLE, ENSEMBLE)
HEAD = ("horizon", "model", "MASE", "less naive's (95 %)", "told apart", "less automatic ARIMA's (95 %)")
Difference = tuple[float, float, float]
"""A MASE less another, and the 95 % interval of that."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One model of one horizon. None: no such figure."""

    role: str
    """One of `ROLES`."""
    name: str
    """Which one, or why there is none."""
    mase: float | None = None
    naive_mase: float | None = None
    apart: str = UNKNOWN
    against_naive: Difference | None = None
    """None where naive is meant itself, or too few independent rows say nothing."""
    against_arima: Difference | None = None

    @property
    def cells(self) -> tuple[str, ...]:
        """The cells of its line, without the horizon."""
        if self.mase is None:
            return f"{self.role}: {self.name}", *(UNKNOWN,) * 4
        named = self.role if self.role == NAIVE else f"{self.role}: {self.name}"
        own = _interval(self.against_naive, self.mase, self.naive_mase)
        return named, f"{self.mase:.3f}", own, self.apart, _interval(self.against_arima)


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
    """Run the plan *rounds* times; of each horizon, MASE over naive's of the two that were chosen, and of AutoGluon."""
    found: dict[tuple[str, str], list[Entry]] = {}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(prefix="cbi-queue-bench-") as folder:
            through_queues(Path(folder))
            for compared in table_of(Path(folder), AUTOGLUON_PYTHON):
                for entry in compared.entries:
                    chosen = entry.role in {SINGLE, ENSEMBLE} and entry.mase is not None
                    if chosen or (entry.role == AUTOGLUON and AUTOGLUON_PYTHON):
                        found.setdefault((compared.horizon, entry.role), []).append(entry)
    return [
        Line(
            f"{horizon}, {role}: MASE / naive's",
            "x",
            tuple(entry.mase / entry.naive_mase for entry in entries if entry.mase and entry.naive_mase),
            note="; ".join(" ".join(entry.cells[i] for i in (0, 2, 3)) for entry in entries),
        )
        for (horizon, role), entries in found.items()
    ]


def through_queues(folder: Path) -> None:
    """Work the plan off, each horizon in an installation of its own below *folder*; go on with those that are there."""
    plans = read_plans([PLAN], profile=profile_for(AUTO).profile)
    for horizon in HORIZONS:
        jobs = [job for plan in plans for job in plan.jobs if job.horizon == horizon and (not ONLY or job.name in ONLY)]
        if not jobs:
            continue
        home = Installation(folder.absolute() / horizon)
        home.root.mkdir(parents=True, exist_ok=True)
        (home.root / "config.toml").touch()
        home.settings.make_state_dir()
        if not home.settings.ledger_path.is_file():
            mini_week.build_sample(home)
            with Ledger.open(home.settings.ledger_path) as ledger:
                enqueue(ledger, [plan.model_copy(update={"jobs": tuple(jobs)}) for plan in plans])
        home.work_off()


def table_of(folder: Path, python: Path | None) -> list[Compared]:
    """Compare the models of every horizon that has a ranked one, in the queues of *folder*, and AutoGluon by *python*.

    Raises:
        Refused: when there is no queue, a job of one has not ended, or nothing is ranked.
    """
    homes = [home for home in (folder, *(folder / horizon for horizon in HORIZONS)) if _ledger(home).is_file()]
    if not homes:
        raise Refused(f"there is no queue to read: {_ledger(folder)} does not exist", hint="name the folder of a week")
    found = [compared for home in homes for compared in _week_of(home, python)]
    if not found:
        raise Refused(f"no model of the queues in {folder} is ranked", hint="`cbi-queue leaderboard` says why")
    return found


def _week_of(home: Path, python: Path | None) -> list[Compared]:
    with Ledger.open_readonly(_ledger(home)) as ledger:
        pending = [job.name for job in brief_jobs(ledger) if not job.state.is_final]
        if pending:
            said = f"{counted(len(pending), 'job')} of {home} not ended yet, the first is {pending[0]}"
            raise Refused(f"{said}: a best model would be the best of a part", hint="wait until the queue is empty")
        jobs = [job for job in scored_jobs(ledger) if job.dataset == DEFAULT]
        return [compare(ledger, jobs, horizon, home, python) for horizon in HORIZONS if _is_ranked(jobs, horizon)]


def compare(ledger: Ledger, jobs: Sequence[JobRow], horizon: str, home: Path, python: Path | None) -> Compared:
    """Compare what the validation block of *horizon* chose with the others of its board, on the backtest.

    Args:
        ledger: open.
        jobs: its scored jobs.
        horizon: one of the catalogue's names.
        home: folder of the installation.
        python: a Python that has AutoGluon; None: it is left out.
    """
    of_horizon = [job for job in jobs if job.horizon == horizon]
    ranked = ranked_models(of_horizon, horizon)
    board = rank(of_horizon)[ranked[0].board]
    singles = [found for found in ranked if found.job.family != Family.META]
    ensembles = [found for found in ranked if found.job.family == Family.META]
    rows = {
        NAIVE: _first(board, NAIVE),
        "drift": _first(board, "drift"),
        ARIMA: _first(board, "auto_arima"),
        SINGLE: singles[0].row if singles else None,
        ENSEMBLE: ensembles[0].row if ensembles else None,
    }
    trained = {row.job_id: row for row in rows.values() if row is not None and row.mase is not None and row.job_id}
    repo = next((home / name for name in ("repo", "CBI-V14") if (home / name).is_dir()), home)
    files, faults = forecast_files(ledger, [job for job in of_horizon if job.id in trained], repo / "Models")
    runs = [{"name": trained[file["job_id"]].name, "predictions": file["path"]} for file in files]
    spec = JobSpec.model_validate(job_numbered(ledger, ranked[0].job.id).spec)
    processed, kept = repo / "TrainingData" / "processed", home / f"autogluon-{horizon}.json"
    rival = autogluon.forecast(python, processed, horizon, cast("EvaluationParams", spec.typed_params), kept)
    losses, shared = _losses(runs, rival.prices)
    words = [
        f"{horizon}: the forecasts of {trained[number].name} cannot be read: {why}." for number, why in faults.items()
    ]
    if files and any(row.rows != shared for row in trained.values()):
        scored = ", ".join(f"{row.name} {row.rows}" for row in trained.values())
        words.append(f"{horizon}: not all were scored on the same rows, they share {shared} ({scored}).")
    judged = _Judged(horizon, losses, rows[NAIVE], rows[ARIMA])
    entries = tuple(judged.rival(rival) if role == AUTOGLUON else judged.entry(role, rows[role]) for role in ROLES)
    return Compared(horizon, entries, ranked[0].row.independent, tuple(words))


@dataclass(frozen=True, slots=True)
class _Judged:
    """The errors of one horizon."""

    horizon: str
    losses: dict[str, np.ndarray]
    """Name of a run, `naive` or `AUTOGLUON` -> (rows,) absolute errors on the rows that all share."""
    naive: LeaderboardRow | None
    arima: LeaderboardRow | None

    @property
    def naive_mase(self) -> float | None:
        return self.naive.mase if self.naive else None

    def entry(self, role: str, row: LeaderboardRow | None) -> Entry:
        """Return the entry of a row of the board."""
        if row is None or row.mase is None:
            return Entry(role, _absence(row))
        naive, against = self.naive_mase, None
        if naive is not None and row.skill is not None and row.skill_low is not None and row.skill_high is not None:
            against = -row.skill * naive, -row.skill_high * naive, -row.skill_low * naive
        apart = "baseline" if role == NAIVE else TOLD_APART_WORDS.get(row.told_apart or "", UNKNOWN)
        arima = self.less(NAIVE if role == NAIVE else row.name, self.arima)
        return Entry(role, f"`{row.name}`", row.mase, naive, apart, against_naive=against, against_arima=arima)

    def rival(self, found: autogluon.Found) -> Entry:
        """Return the entry of AutoGluon, from its errors."""
        own, naive, naive_mase = self.losses.get(AUTOGLUON), self.losses.get(NAIVE), self.naive_mase
        if own is None or naive is None or not naive_mase:
            return Entry(AUTOGLUON, found.words)
        mase = naive_mase * float(own.sum() / naive.sum())
        against = self.less(AUTOGLUON, self.naive)
        arima = self.less(AUTOGLUON, self.arima)
        return Entry(AUTOGLUON, found.words, mase, naive_mase, against_naive=against, against_arima=arima)

    def less(self, name: str, other: LeaderboardRow | None) -> Difference | None:
        """Return the MASE of *name* less that of *other*, with its interval."""
        from jobs.evaluation.significance import skill_test

        if other is None or not other.mase or name == other.name:
            return None
        own, theirs = self.losses.get(name), self.losses.get(NAIVE if other.model == NAIVE else other.name)
        if own is None or theirs is None:
            return None
        tested = skill_test(own, theirs, HORIZON_DAYS[self.horizon])
        if tested.low is None or tested.high is None:
            return None
        skill = 1.0 - float(own.sum() / theirs.sum())
        return -skill * other.mase, -tested.high * other.mase, -tested.low * other.mase


def as_table(week: Sequence[Compared]) -> str:
    """Write the Markdown table, with a line above it and what limits it below."""
    rows = [HEAD, ("---",) * len(HEAD), *((found.horizon, *entry.cells) for found in week for entry in found.entries)]
    independent = ", ".join(f"{found.horizon} {found.independent or 0.0:.0f}" for found in week)
    text = [f"Independent rows of the backtest: {independent}. A negative difference is a smaller error:", ""]
    text += [f"| {' | '.join(row)} |" for row in rows]
    words = [words for found in week for words in found.words]
    return "\n".join([*text, *(["", *words] if words else [])]) + "\n"


def _ledger(home: Path) -> Path:
    return home / "state" / "ledger.db"


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
    why = "was vetoed" if row.veto else "is damaged" if row.damage else "has no score"
    return f"`{row.name}` {why}"


def _losses(runs: list[dict[str, str]], rival: dict[str, float]) -> tuple[dict[str, np.ndarray], int]:
    """Return the errors of *runs*, of naive and of AutoGluon, whose prices *rival* are, on the rows that all share."""
    import polars as pl

    from jobs.comparison import price_losses  # imports numpy and arch, which the registry need not

    if not runs or not rival:
        return price_losses(runs)
    with tempfile.TemporaryDirectory() as folder:
        table = pl.read_parquet(runs[0]["predictions"], glob=False).filter(pl.col("block") == "backtest")
        told = pl.DataFrame({"day": list(rival), "predicted_price": list(rival.values())})
        joined = table.drop("predicted_price").with_columns(day=pl.col("date").cast(pl.Date).cast(pl.String))
        path = str(Path(folder) / "autogluon.parquet")
        joined.join(told, on="day").drop("day").write_parquet(path)
        return price_losses([*runs, {"name": AUTOGLUON, "predictions": path}])


def _interval(difference: Difference | None, mase: float | None = None, naive: float | None = None) -> str:
    """Write a difference with its interval; alone where there is none."""
    if difference is not None:
        value, low, high = difference
        return f"{value:+.3f} ({low:+.3f} to {high:+.3f})"
    if mase is None or naive is None:
        return UNKNOWN
    return "0" if mase == naive else f"{mase - naive:+.3f}"


def main() -> int:
    """Run what has not run, print the table, put it into a file."""
    words = "example: python -m benchmarks.accuracy .accuracy --markdown docs/forecasting.md"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], epilog=words)
    parser.add_argument(
        "folder", type=Path, metavar="FOLDER", help="where its queues are kept; or a folder that is one"
    )
    where = f"a Python that has it; default: {AUTOGLUON_PYTHON}"
    parser.add_argument("--autogluon", type=Path, default=AUTOGLUON_PYTHON, metavar="PYTHON", help=where)
    parser.add_argument("--markdown", type=Path, metavar="FILE", help=f"put the table between its marks ({MARK})")
    options = parser.parse_args()
    try:
        if not _ledger(options.folder).is_file():
            through_queues(options.folder)
        table = as_table(table_of(options.folder, options.autogluon))
    except CbiError as exc:
        print(f"error: {exc}\nhint: {exc.hint}", file=sys.stderr)
        return 2
    print(table)
    if options.markdown:
        write_markdown(options.markdown, table, MARK)
    return 0


if __name__ == "__main__":
    sys.exit(main())
