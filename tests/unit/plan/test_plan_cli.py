"""`cbi-queue plan check|show|schema` as a user meets it."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result
from support.plan_files import SCHEDULES, write

from cbi_queue.cli import cli
from cbi_queue.cli.verbs.plan import command
from cbi_queue.errors import PlanError
from cbi_queue.plan.schema import plan_schema

if TYPE_CHECKING:
    from pathlib import Path

GOOD = """\
    day: 1
    title: A good day
    jobs:
    - {name: late, family: trees, model: lightgbm_dart, horizon: 1w, needs: [f], priority: 9, params: {num_leaves: 63}}
    - {name: f, family: features, horizon: 1w, timeout: 10m}
    """


@pytest.fixture(autouse=True)
def _own_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep settings, ledger and data of the machine out of the tests."""
    for name in ("EXTERNAL_DRIVE", "CBI_CONFIG", "CBI_V14_TRAINING_DATA", "CBI_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("CBI_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("CBI_V14_REPO", str(tmp_path / "repo"))
    monkeypatch.setenv("COLUMNS", "200")


def run(*arguments: object) -> Result:
    """Call the command line as `cbi-queue ARGUMENTS`."""
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def test_check_says_what_a_plan_holds_and_touches_nothing(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    result = run("plan", "check", "--no-data", path)
    assert result.exit_code == 0
    assert f"{path}: day 1, 2 jobs. A good day" in result.output
    assert "OK: 2 jobs, every `needs` resolves, no cycle\n" in result.output
    assert "enqueued" not in result.output, "a check never enqueues"
    assert "below the week's minimum: trees 1 of 15" in result.output
    assert not (tmp_path / "state").exists()
    assert not (tmp_path / "repo").exists()


def test_check_prints_every_complaint_and_exits_with_2(tmp_path: Path) -> None:
    path = write(tmp_path, "day: 1\nday: 2\njobs:\n- {name: a, family: oak}\n")
    result = run("plan", "check", path)
    assert isinstance(result.exception, PlanError)
    assert len(result.exception.complaints) == 3
    done = subprocess.run(
        [sys.executable, "-m", "cbi_queue.cli", "plan", "check", str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("Error: 3 complaints\n")
    assert f"{path}:2: day: this key appears twice; first in line 1" in done.stderr
    assert "Traceback" not in done.stderr


def test_check_asks_for_the_data_unless_told_not_to(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    result = run("plan", "check", path)
    assert isinstance(result.exception, PlanError)
    assert f"{tmp_path}/repo/TrainingData/exports/production_training_data_1w.parquet is missing" in str(
        result.exception
    )


def test_check_as_json_holds_the_complaints_or_the_summary(tmp_path: Path) -> None:
    good = run("plan", "check", "--json", "--no-data", write(tmp_path, GOOD))
    summary = json.loads(good.output)
    assert good.exit_code == 0
    assert (summary["ok"], summary["order"]) == (True, ["f", "late"])
    assert summary["jobs"] == {"trees": {"1w": 1}, "features": {"1w": 1}}
    assert summary["budget"]["total"]["counts"]["queued"] == 1
    bad = run("plan", "check", "--json", write(tmp_path, "day: x\n"))
    assert bad.exit_code == 2
    told = json.loads(bad.output)
    assert told["ok"] is False
    assert len(told["complaints"]) == 2


def test_check_counts_jobs_already_in_the_queue_as_known(tmp_path: Path) -> None:
    """Day 2 is checked on its own once day 1 is enqueued."""
    from support.plan_files import M4

    from cbi_queue.ledger import Ledger
    from cbi_queue.ledger.enqueue import enqueue
    from cbi_queue.plan import read_plans

    second = write(
        tmp_path, "day: 2\njobs:\n- {name: n, family: statistical, model: naive, horizon: 1w, needs: [f]}\n", "b.yaml"
    )
    assert isinstance(run("plan", "check", "--no-data", second).exception, PlanError)
    (tmp_path / "state").mkdir()
    with Ledger.open(tmp_path / "state" / "ledger.db") as ledger:
        enqueue(ledger, read_plans([write(tmp_path, GOOD)], profile=M4))
    assert run("plan", "check", "--no-data", second).exit_code == 0


def test_show_lists_jobs_in_execution_order_with_what_differs_from_the_defaults(tmp_path: Path) -> None:
    result = run("plan", "show", "--no-data", write(tmp_path, GOOD))
    assert result.exit_code == 0
    lines = [line for line in result.output.splitlines() if line.startswith(("#", "1", "2"))][-2:]
    assert lines[0].split() == ["1", "f", "features", "feature_cache", "1w", "0", "1", "10", "min"]
    assert lines[1].split() == ["2", "late", "trees", "lightgbm_dart", "1w", "f", "9", "1", "num_leaves=63"]


def test_show_as_json_prints_whole_specs(tmp_path: Path) -> None:
    result = run("plan", "show", "--json", "--no-data", write(tmp_path, GOOD))
    specs = json.loads(result.output)
    assert [spec["name"] for spec in specs] == ["f", "late"]
    assert specs[0]["timeout_s"] == 600
    assert specs[1]["params"]["max_depth"] == 6, "defaults are filled in"


def test_schema_prints_the_schema() -> None:
    assert json.loads(run("plan", "schema").output) == plan_schema()


@pytest.mark.parametrize("arguments", [[], ["check"], ["show"], ["schema"]])
def test_every_command_explains_itself_with_examples(arguments: list[str]) -> None:
    result = run("plan", *arguments, "--help")
    assert result.exit_code == 0
    assert "Examples:" in result.output
    assert "cbi-queue plan" in result.output


def test_the_verbs_are_new_check_show_and_schema() -> None:
    assert sorted(command.commands) == ["check", "new", "schema", "show"]


@pytest.mark.parametrize("folder", [SCHEDULES, SCHEDULES / "mini-week"])
def test_a_shipped_week_passes_its_own_check_and_explains_the_budget(folder: Path) -> None:
    result = run("plan", "check", "--no-data", folder)
    assert result.exit_code == 0, result.exception
    assert "OK: 113 jobs, every `needs` resolves, no cycle, no day waits for a later one" in result.output
    rows = {line.split("  ")[0]: line.split("  ", 1)[1].split() for line in result.output.splitlines() if "  " in line}
    assert rows["trees"][:3] == ["15", "15", "15-20"]
    assert " ".join(rows["trees"][3:]) == "day 1: 9, day 2: 6"
    assert rows["total"] == ["65", "65", "60-70"]
    assert "do not count: 48 of these jobs" in result.output


def test_the_other_shipped_plans_pass_their_own_check() -> None:
    result = run("plan", "check", "--no-data", *sorted(SCHEDULES.glob("*.yaml")))
    assert result.exit_code == 0, result.exception


def test_help_does_not_load_the_reader() -> None:
    """`--help` and completion must not cost what pydantic and YAML cost."""
    code = "import sys, cbi_queue.cli.verbs.plan; print(sorted({'yaml', 'pydantic', 'rich'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
