"""Tables at 80 columns: the names of jobs are whole, and what is dropped is what one needs least."""

from __future__ import annotations

import io

import pytest
from click.testing import CliRunner
from rich.console import Console
from support.api_installation import ApiInstallation

from cbi_queue.cli import cli
from cbi_queue.cli.output import fitted_table, print_table
from cbi_queue.cli.verbs.backtest import COLUMNS as BOOK_COLUMNS
from cbi_queue.cli.verbs.budget import COLUMNS as BUDGET_COLUMNS
from cbi_queue.views.result_table import SCORE_COLUMNS

LONG = "a-quite-long-name-as-a-matrix-over-seeds-makes-them-seed-17-1w"
COLUMNS = (">job", "name", "??model", "?needs", "??>priority", "why")


def drawn(*rows: tuple[str, ...], width: int = 80, columns: tuple[str, ...] = COLUMNS) -> str:
    said = io.StringIO()
    Console(width=width, file=said).print(fitted_table("", columns, rows, width))
    return said.getvalue()


def test_the_least_needed_columns_go_first_and_two_blanks_become_one_before_any_goes():
    rows = ("1", "n" * 20, "model", "needs", "10", "w" * 24)

    wide, close = drawn(rows, width=78).splitlines()[0].split(), drawn(rows, width=73).splitlines()[0].split()
    narrow = drawn(rows, width=60).splitlines()[0].split()

    assert wide == close == ["job", "name", "model", "needs", "priority", "why"]
    assert narrow == ["job", "name", "needs", "why"]


def test_a_name_that_does_not_fit_is_folded_and_never_cut():
    said = drawn(("1", "n" * 70, "model", "needs", "10", "several words about it"))

    assert "…" not in said
    assert said.count("n" * 10) >= 7 - 1
    assert sum(line.count("n") for line in said.splitlines()[1:]) >= 70


@pytest.mark.parametrize("columns", [BUDGET_COLUMNS, BOOK_COLUMNS, SCORE_COLUMNS])
def test_a_row_keeps_its_name_and_no_number_is_cut_at_forty_columns(columns):
    """Half a figure is a wrong one, and figures without a name say nothing."""
    row = ["advanced neural", *["-0.0412"] * (len(columns) - 1)]

    said = drawn(tuple(row), width=40, columns=columns)

    assert "…" not in said
    assert "advanced neural" in said


@pytest.mark.parametrize("verb", [("plan", "show", "--no-data"), ("estimate",)])
def test_plans_name_their_jobs_whole(tmp_path, monkeypatch, verb):
    site = ApiInstallation(tmp_path)
    for name, value in site.environ.items():
        if name.startswith("CBI_"):
            monkeypatch.setenv(name, value)
    plan = tmp_path / "plan.yaml"
    plan.write_text(
        "day: 10\njobs:\n"
        f"  - {{name: f-{LONG}, family: features, horizon: 1w}}\n"
        f"  - {{name: {LONG}, family: statistical, model: drift, horizon: 1w, needs: [f-{LONG}]}}\n"
    )

    done = CliRunner().invoke(cli, [*verb, str(plan)], env={"COLUMNS": "80"})

    assert done.exit_code == 0, done.output
    assert "…" not in done.output
    joined = "".join(done.output.split())
    assert max(map(len, done.output.splitlines()[:4])) <= 80
    assert LONG[:30] in joined


def test_a_title_wider_than_its_table_stays_on_one_line(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    title = "Horizon 1w spread walk-forward: ranked by validation, skill of the backtest"

    print_table(title, ("#", "name"), [("1", "naive-1w")])

    assert capsys.readouterr().out.splitlines()[0] == title
