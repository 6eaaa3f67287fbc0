"""The boards of scripts: ranked by what is declared or not at all, repeats as one row, never beside forecasts."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest
from click.testing import CliRunner

from cbi_queue.cli.verbs.leaderboard import command
from cbi_queue.ledger import JobRow
from cbi_queue.lifecycle import JobState, Reason
from cbi_queue.views.leaderboard import rank
from cbi_queue.views.project_board import RankBy, rank_projects, sentences
from cbi_queue.views.volatility_board import rank_volatility


def made(job_id: int, name: str, metrics: dict[str, Any], *command: str, **params: Any) -> JobRow:
    spec = {"params": {"command": ["python", "train.py", *command], "workdir": "/home/me/energy", **params}}
    values = {
        "id": job_id, "plan_id": 1, "day": 0, "name": name, "family": "script", "model": "command", "horizon": "-",
        "backend": "native", "spec": spec, "identity": str(job_id), "state": JobState.SUCCEEDED, "reason": Reason.DONE,
        "priority": 0, "retries": 1, "timeout_s": None, "errors": 0, "ooms": 0, "attempts": 1, "micro_batch": None,
        "not_before": None, "cancel_requested_at": None, "run_dir": None,
        "metrics": {"exit_status": 0, "fit_s": 2.0, **metrics}, "veto": None, "enqueued_at": 0.0, "changed_at": 0.0,
        "ended_at": 1.0,
    }  # fmt: skip
    return JobRow(**values)


RUNS = [
    made(1, "a-1", {"error": 0.3, "rows": 10}, "--seed", "-1", "--lr", "0.1"),
    made(2, "a-2", {"error": 0.5, "rows": 10}, "--seed=2", "--lr", "0.1"),
    made(3, "b", {"error": 0.2}, "--lr", "0.2"),
    made(4, "silent", {}),
    made(5, "other", {"rows": 3}, "--lr", "0.3", rank_by={"error": "lower"}),
]


def test_a_seed_without_a_value_takes_no_option_along() -> None:
    """Two learning rates after a bare `--seed` would be repeats of each other."""
    bare = [made(number, f"n{number}", {"error": 0.3}, "--seed", "--lr", str(number)) for number in (1, 2)]
    assert [row.names for row in rank_projects(bare)["energy"]] == [("n1",), ("n2",)]


def test_repeats_are_one_row_and_nothing_is_ranked_until_a_direction_is_declared() -> None:
    """Only the seed differs: mean, lowest, highest. Another learning rate is another row."""
    ((project, rows),) = rank_projects(RUNS[:4]).items()
    assert project == "energy"
    assert [(row.place, row.name, row.names) for row in rows] == [(None, "a-1", ("a-1", "a-2")), (None, "b", ("b",))]
    error = rows[0].figures["error"]
    assert (error.mean, error.lowest, error.highest, error.runs) == (pytest.approx(0.4), 0.3, 0.5, 2)
    assert sentences(rows)[0].startswith("Not ranked")


@pytest.mark.parametrize(("better", "first"), [("lower", "b"), ("higher", "a-1")])
def test_the_declared_direction_ranks_and_who_asks_may_declare_another(better: str, first: str) -> None:
    declared = rank_projects(RUNS)["energy"]
    assert [(row.place, row.name) for row in declared] == [(1, "b"), (2, "a-1"), (None, "other")]
    assert "Without error, so not ranked: other." in sentences(declared)
    asked = rank_projects(RUNS, RankBy("error", better))["energy"]
    assert asked[0].name == first


def test_equal_means_share_a_place_and_damaged_runs_and_other_code_are_told() -> None:
    equal = made(6, "c", {"error": 0.2}, "--lr", "0.9")
    equal = replace(equal, spec={**equal.spec, "snapshot": "f" * 64})
    rows = rank_projects([*RUNS, equal, replace(RUNS[0], id=7, name="d", damage="a file is gone")])["energy"]
    assert [(row.place, row.name) for row in rows][:2] == [(1, "b"), (1, "c")]
    words = " ".join(sentences(rows))
    assert "Damaged, so not ranked: d: a file is gone." in words
    assert "They ran 2 states of code and inputs." in words


def test_scripts_are_on_no_board_of_forecasts_and_a_failed_one_is_on_none() -> None:
    assert not rank(RUNS)
    assert not rank_volatility(RUNS)
    vetoed, failed = replace(RUNS[2], state=JobState.VETOED), replace(RUNS[0], state=JobState.FAILED, metrics=None)
    assert not rank_projects([failed, vetoed, replace(RUNS[1], family="trees")])
    named = rank_projects([made(1, "x", {"error": 1}, project="wind"), RUNS[2]])
    assert list(named) == ["energy", "wind"]


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (JobState.QUEUED, "a-1, which is queued to run again"),
        (JobState.RUNNING, "a-1, which runs again"),
        (JobState.FAILED, "a-1, which failed when it ran again"),
        (JobState.CANCELLED, "a-1, whose next run was cancelled"),
    ],
)
def test_a_former_result_stays_by_itself_marked_and_of_unknown_code(state: JobState, words: str) -> None:
    """It may have been of other code than the job has now, so it is averaged with nothing."""
    rows = rank_projects([replace(RUNS[0], state=state), *RUNS[1:3]], RankBy("error", "lower"))["energy"]
    assert [(row.place, row.name, row.former is None) for row in rows] == [
        (1, "b", True),
        (2, "a-1", False),
        (3, "a-2", True),
    ]
    assert rows[1].code is None
    assert f"Former result: {words}." in sentences(rows)


def test_the_verb_prints_one_project_as_a_table_as_csv_and_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    verb = "cbi_queue.cli.verbs.leaderboard"
    monkeypatch.setattr(f"{verb}.readonly_ledger", lambda: nullcontext(None))
    monkeypatch.setattr(f"{verb}.scored_jobs", lambda _ledger: [])
    monkeypatch.setattr(f"{verb}.script_results", lambda _ledger: RUNS)
    ask = lambda *more: CliRunner().invoke(command, ["--project", "energy", *more])  # noqa: E731
    table = ask().output
    assert table.splitlines()[1].split() == ["#", "name", "runs", "error", "lowest", "highest", "rows", "seconds"]
    assert max(map(len, table.splitlines())) <= 80
    assert "a-1 +1" in table
    assert json.loads(ask("--json").output)["project energy"][0]["name"] == "b"
    assert ask("--csv").output.splitlines()[1] == "energy,1,b,1,error,0.2,0.2,0.2"
    for wrong, words in (
        (("--rank-by", "eror=lower"), "did you mean 'error'"),
        (("--rank-by", "error"), "is not NAME=lower or NAME=higher"),
        (("--horizon", "1m"), "have no horizon"),
        (("--project", "engery"), "did you mean 'energy'"),
    ):
        refused = ask(*wrong)
        assert refused.exit_code == 2
        assert words in refused.output
