"""`cbi-queue leaderboard`: the trained models of each horizon against the baselines, with what may be believed."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from cbi_queue.cli.arguments import examples, json_option, ranking
from cbi_queue.cli.ledger_access import readonly_ledger, writable_ledger
from cbi_queue.cli.output import print_json, printable
from cbi_queue.cli.verbs.data.options import complete_datasets
from cbi_queue.ledger.queries import scored_jobs, script_results
from cbi_queue.models.kinds import HORIZONS
from cbi_queue.settings import load_settings
from cbi_queue.values.words import unknown
from cbi_queue.views.board_words import heading, regime_sentences, sentences, volatility_sentences
from cbi_queue.views.boards import comparable_boards
from cbi_queue.views.comparison import FILE_NAME, compute_comparisons, missing_groups, read_comparisons
from cbi_queue.views.leaderboard import LeaderboardRow, rank
from cbi_queue.views.project_board import RankBy, rank_projects, shown_figures, titled
from cbi_queue.views.regime_board import RegimeRow, rank_regimes
from cbi_queue.views.volatility_board import VolatilityRow, rank_volatility

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cbi_queue.ledger import JobRow, Ledger
    from cbi_queue.views.comparison import Comparison
    from cbi_queue.views.final_block import FinalBoard
    from cbi_queue.views.project_board import ProjectRow

    Rows = Sequence[LeaderboardRow] | Sequence[VolatilityRow] | Sequence[RegimeRow]


@click.command(
    epilog=examples(
        "leaderboard",
        "leaderboard --horizon 1m --wide | less -S",
        "leaderboard --dataset zl --csv > board.csv",
        "leaderboard --final --horizon 1m",
        "leaderboard --project my-model --rank-by error=lower",
    )
)
@click.option("--horizon", type=click.Choice(HORIZONS), help="Only this horizon.")
@click.option("--dataset", metavar="NAME", shell_complete=complete_datasets, help="Only this data set.")
@click.option("--wide", is_flag=True, help="Every column, without fitting the terminal.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV: one row a model, with every figure.")
@click.option(
    "--final", "final", is_flag=True, help="Open the final blocks and show their scores; it is recorded each time."
)
@click.option("--project", help="Only this project of scripts of your own.")
@click.option("--rank-by", metavar="NAME=lower|higher", help="Rank scripts by this figure, instead of as they declare.")
@json_option
def command(
    horizon: str | None,
    dataset: str | None,
    project: str | None,
    rank_by: str | None,
    *,
    wide: bool,
    as_csv: bool,
    final: bool,
    as_json: bool,
) -> None:
    """Rank the trained models of each horizon beside the baselines (naive, seasonal_naive, drift).

    The skill on the validation block ("valid.") ranks, because it may select; the skill on the backtest judges, because
    nothing was selected on it. Skill is 1 - MASE / naive's MASE on the same rows: 0 is naive's. "±" and the small plot
    are its 95 % interval, 0 in the middle. "Told apart" says whether the skill differs from naive's by more than luck
    explains, given how many models the board has. Sharpe ratios (--wide) are after the data set's `cost_per_turnover`.
    Different data, snapshots and schemes (walk-forward, holdout) are never in one table.

    Vetoed and damaged runs are listed below and not ranked. A star marks a model that may differ from an undisturbed
    run. The first time a board is shown, its models are compared with each other, which takes some seconds.

    Volatility models and regime classifiers forecast no price and have tables of their own: skill is 1 - QLIKE / EWMA's
    QLIKE, and 1 - log loss / that of persistence. Models of one regime are in no table; their mixture is. "Said" and
    "came" are the volatility that was forecast and the one that came, annualised.

    Scripts of your own have a board a project, with the figures that they reported: ranked by the one that is declared,
    with which of lower and higher comes first. Runs that differ only in a seed are one row: mean, lowest, highest.
    """
    if project is not None and (horizon or dataset or final):
        raise click.UsageError(
            "--project is of scripts, which have no horizon, no data set and no final block; leave the others out"
        )
    by = RankBy(*ranking(rank_by)) if rank_by else None
    if as_csv and (as_json or wide):
        raise click.UsageError("--csv has every column already; use it without --json and --wide")
    if final:
        _final(horizon, dataset, wide=wide, as_csv=as_csv, as_json=as_json)
        return
    with readonly_ledger() as ledger:
        jobs = _scored(ledger, horizon, dataset)
        projects = {} if horizon or dataset else _projects(ledger, project, by)
    if project is not None:
        _print_projects(projects, wide=wide, as_csv=as_csv, as_json=as_json)
        return
    comparisons = _comparisons(jobs)
    volatility, regimes = rank_volatility(jobs, comparisons), rank_regimes(jobs)
    boards: dict[str, Rows] = {**rank(jobs, comparisons), **volatility, **regimes}
    if as_json:
        print_json({title: [asdict(row) for row in rows] for title, rows in {**boards, **titled(projects)}.items()})
    elif as_csv:
        _csv(boards)
    elif not boards and not projects:
        click.echo("No model has been trained and scored yet.")
    else:
        for title, rows in boards.items():
            _print(title, rows, comparisons.get(title), wide=wide)
        _print_projects(projects, wide=wide)


def _scored(ledger: Ledger, horizon: str | None, dataset: str | None) -> list[JobRow]:
    """Return the jobs of the boards that were asked for; refuse a data set of which nothing was scored."""
    jobs = scored_jobs(ledger)
    names = sorted({job.dataset for job in jobs})
    if dataset is not None and dataset not in names:
        raise click.UsageError(f"there is no board: {unknown('data set', dataset, names)}")
    return [job for job in jobs if horizon in {None, job.horizon} and dataset in {None, job.dataset}]


def _projects(ledger: Ledger, project: str | None, by: RankBy | None) -> dict[str, list[ProjectRow]]:
    """Return the boards of scripts, or the one of *project*."""
    boards = rank_projects(script_results(ledger), by)
    if project is None:
        return boards
    if project not in boards:
        why = unknown("project", project, boards) if boards else "no script has reported a figure yet"
        raise click.UsageError(f"there is no board: {why}; `cbi-queue results` has every run with its project")
    rows = boards[project]
    if by is not None and not any(by.figure in row.figures for row in rows):
        figures = unknown("figure", by.figure, shown_figures(rows))
        raise click.UsageError(f"project {project} cannot be ranked: {figures}")
    return {project: rows}


def _print_projects(
    boards: Mapping[str, list[ProjectRow]], *, wide: bool, as_csv: bool = False, as_json: bool = False
) -> None:
    from cbi_queue.cli.project_table import print_projects, print_projects_csv

    if as_json:
        print_json({title: [asdict(row) for row in rows] for title, rows in titled(boards).items()})
    elif as_csv:
        print_projects_csv(boards)
    else:
        print_projects(boards, wide=wide)


def _print(
    title: str, rows: Rows, comparison: Comparison | None = None, *, wide: bool, opened: FinalBoard | None = None
) -> None:
    """Print one board of any kind, of the backtest or as it was *opened*."""
    from cbi_queue.cli.board_table import print_board
    from cbi_queue.cli.regime_table import print_regime_board
    from cbi_queue.cli.volatility_table import print_volatility_board

    above, said = heading(title, rows, final=opened is not None), [opened.words] if opened else []
    volatility = [row for row in rows if isinstance(row, VolatilityRow)]
    regimes = [row for row in rows if isinstance(row, RegimeRow)]
    prices = [row for row in rows if isinstance(row, LeaderboardRow)]
    if volatility:
        said += volatility_sentences(volatility, comparison)
        print_volatility_board(above, volatility, said, wide=wide)
    elif regimes:
        print_regime_board(above, regimes, [*said, *regime_sentences(regimes)], wide=wide)
    else:
        print_board(above, prices, [*said, *sentences(prices, comparison)], wide=wide)


def _csv(boards: Mapping[str, Rows]) -> None:
    from cbi_queue.cli.board_table import print_csv

    print_csv(boards)


def _comparisons(jobs: list[JobRow]) -> dict[str, Comparison]:
    """Return what is known about each board, computed now where it is missing; a fault is told and costs no board."""
    settings = load_settings()
    path = settings.state_dir / FILE_NAME
    groups = comparable_boards(jobs)
    if missing := missing_groups(path, groups):
        is_watched = sys.stderr.isatty()
        if is_watched:
            models = sum(len(group["runs"]) for group in missing.values())
            click.echo(f"Comparing {models} models with each other …", err=True, nl=False)
        fault = compute_comparisons(path, groups, settings.interpreter_for("native"))
        if is_watched:
            click.echo("\r\x1b[K", err=True, nl=False)
        if fault:
            click.echo(f"note: {printable(fault)}", err=True)
    return read_comparisons(path, groups)


def _final(horizon: str | None, dataset: str | None, *, wide: bool, as_csv: bool, as_json: bool) -> None:
    from cbi_queue.views.final_block import open_final_blocks

    with writable_ledger() as ledger:
        opened = open_final_blocks(ledger, _scored(ledger, horizon, dataset))
    if as_json:
        print_json({title: _final_json(board.opened_before, board.rows) for title, board in opened.items()})
    elif as_csv:
        _csv({title: board.rows for title, board in opened.items()})
    elif not opened:
        click.echo(
            "No run has a final block: walk_forward leaves one out, of `final_block_rows` rows; holdout has none."
        )
    for title, board in opened.items() if not (as_json or as_csv) else ():
        _print(title, board.rows, wide=wide, opened=board)


def _final_json(opened_before: int, rows: Rows) -> dict[str, Any]:
    return {"opened_before": opened_before, "rows": [asdict(row) for row in rows]}
