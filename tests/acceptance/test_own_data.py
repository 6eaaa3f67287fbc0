"""A forecaster's own CSV: imported, chosen about, trained on, shown, and removed, with the commands of docs/own-data.md."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from datetime import date, timedelta

import numpy as np
import pytest

PLAN = """
day: 0
dataset: zl
jobs:
  - {name: f, family: features, horizon: 1w}
  - {name: naive, family: statistical, model: naive, horizon: 1w, needs: [f]}
"""
EMPTY = range(500, 526)


@pytest.fixture
def csv(installation):
    """7,300 trading days in the US form, 26 without a price, a text column, a name that no feature can have."""
    rng = np.random.default_rng(7)
    days = [day for day in (date(1996, 1, 1) + timedelta(n) for n in range(10_700)) if day.weekday() < 5][:7300]
    price = 30 * np.exp(np.cumsum(rng.normal(0, 0.015, len(days))))
    rows = [
        f"{day:%m/%d/%Y},{'' if n in EMPTY else f'{price[n]:.2f}'},{1000 + n % 50},ZL{day:%b}"
        for n, day in enumerate(days)
    ]
    path = installation.root / "zl.csv"
    path.write_text("\n".join(["Date,Settle,Open Interest,Contract", *rows, ""]), encoding="utf-8")
    return path


def test_from_a_csv_to_the_board(installation, csv):
    printed = installation.cli("data", "import", "zl.csv", "--dataset", "zl", code=2)
    assert "26 days without a price, first 1997-12-01" in printed
    assert not (installation.settings.training_data / "datasets" / "zl").exists()

    printed = installation.cli("data", "import", "zl.csv", "--dataset", "zl", "--missing-price", "drop", "--yes")
    for words in (
        "date            Date, as MM/DD/YYYY (proposed)",
        "price           Settle (proposed)",
        "left out        Contract: it is text, as 'ZLJan'",
        "rows            7,274, 1996-01-01 to 2023-12-22",
        "'Open Interest' as Open_Interest",
        "1 gap of more than 10 days, the longest 39 days after 1997-11-28",
        "Imported:",
    ):
        assert words in printed or words in " ".join(printed.split()), words
    (installation.root / "plan.yaml").write_text(PLAN, encoding="utf-8")
    installation.cli("plan", "check", "plan.yaml")
    installation.cli("run", "plan.yaml")
    assert "Horizon 1w zl (holdout)" in installation.cli("leaderboard")

    shown = json.loads(installation.cli("data", "show", "--dataset", "zl", "--json"))
    assert [job["name"] for job in shown["jobs"]] == ["f", "naive"]
    assert shown["features_of"]["1w"] == shown["snapshots"]["1w"] == installation.job("naive").snapshot
    assert "Open_Interest  series    100.0%" in installation.cli("data", "show", "--dataset", "zl")
    installation.cli("data", "edit", "--dataset", "zl", "columns.Open_Interest.role=as_is")
    assert "queued again on the new snapshot: f" in installation.cli("enqueue", "plan.yaml")
    assert "jobs that have not ended read it: f" in installation.cli(
        "data", "remove", "--dataset", "zl", "--yes", code=2
    )
    installation.cli("cancel", "f")
    installation.cli("data", "remove", "--dataset", "zl", "--yes")
    assert "zl" not in installation.cli("data", "list")
    assert "there is no data set 'zl'" in installation.cli("plan", "check", "plan.yaml", code=2)


def test_nothing_is_imported_without_a_yes(installation, csv):
    """Neither where nobody can be asked, nor when the answer is no, nor in a rehearsal; and nothing is left behind."""
    asked = ("data", "import", "zl.csv", "--dataset", "zl", "--missing-price", "drop")

    assert "write --yes, or --dry-run" in installation.cli(*asked, code=2)
    assert "Nothing was changed." in installation.cli(*asked, "--dry-run")
    outside, inside = pty.openpty()
    command = [sys.executable, "-P", "-m", "cbi_queue.cli", *asked]
    child = subprocess.Popen(
        command, env=installation.environ, cwd=installation.root, stdin=inside, stdout=subprocess.PIPE
    )
    os.write(outside, b"n\n")
    printed, _ = child.communicate(timeout=120)
    os.close(outside)
    os.close(inside)

    assert child.returncode == 0
    assert printed.decode().splitlines()[-1].endswith("Nothing was imported.")
    assert not (installation.settings.training_data / "datasets" / "zl").exists()


def test_exports_that_no_import_wrote_are_not_replaced_or_shadowed(installation, csv):
    asked = ("data", "import", "zl.csv", "--missing-price", "drop", "--yes")
    before = sorted(installation.settings.exports_dir.iterdir())

    assert "would be read instead of, or beside" in installation.cli(*asked, code=2)
    assert "would be" in installation.cli(*asked, "--horizons", "1w", code=2)
    assert sorted(installation.settings.exports_dir.iterdir()) == before
    installation.cli(*asked, "--replace")
    assert [path.name for path in installation.settings.exports_dir.glob("*.parquet")] == [
        "production_training_data.parquet"
    ]
    installation.cli(*asked)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("data", "edit", "missing_price=maybe"), "missing_price is 'maybe'; allowed: refuse or drop"),
        (("data", "edit", "price=Settle"), "'price' is no choice about a data set; allowed: label, missing_price"),
        (
            ("data", "edit", "columns.vix.colour=red"),
            "is no choice about a column; allowed: role, lag_days, max_age_days",
        ),
        (("data", "edit", "columns.vix.lag_days=-1"), "columns.vix.lag_days is -1; allowed: at least 0"),
        (("data", "edit", "nonsense"), "write KEY=VALUE"),
        (("data", "show", "--dataset", "nope"), "there is no data set 'nope'; there are: default"),
        (("data", "show", "--dataset", "../x"), "is no name of a data set"),
        (("data", "remove", "--yes"), "the default data set is not removed as a whole"),
        (("data", "import", "nowhere.csv", "--dataset", "zl", "--yes"), "nowhere.csv does not exist"),
        (("data", "import", "x", "--horizons", "2w"), "'2w' is not allowed; allowed: 1w, 1m, 3m, 6m, 12m"),
    ],
)
def test_what_cannot_be_done_is_refused_with_what_is_allowed(installation, arguments, words):
    assert words in " ".join(installation.cli(*arguments, code=2).split())
