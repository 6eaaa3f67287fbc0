"""The mini week of `make week`: its end on one horizon, and the whole of it while everything is killed."""

from __future__ import annotations

import os
import random
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from support.plan_files import M4, SCHEDULES
from support.storm import Storm

from benchmarks.mini_week import table_of
from cbi_queue.cli.arguments import days_in
from cbi_queue.ledger import Ledger
from cbi_queue.plan import read_plans

if TYPE_CHECKING:
    from support.installation import Installation

    from cbi_queue.spec import JobSpec

MINI_WEEK = SCHEDULES / "mini-week"
KILLS = 10
SEED = int(os.environ.get("STORM_SEED", random.SystemRandom().randrange(2**32)))
SLICE = (
    "features-6m", "naive-6m", "lightgbm-31-6m", "ets-6m", "mean_ensemble-6m", "lightgbm_stacker-6m",
    "greedy_ensemble-6m", "export-6m",
)  # fmt: skip
"""What day 7 hands over at one horizon, and as little before it as shows every step."""
BROKEN = "feed-forward-6m"


def of_the_slice(job: JobSpec) -> dict[str, object]:
    """The job as the plan writes it, waiting for nothing outside the slice."""
    params = {**job.params, "sequence_length": 4096} if job.name == BROKEN else job.params
    after = [name for name in job.after if name in {*SLICE, BROKEN}]
    return {**job.model_dump(mode="json"), "params": params, "after": after, "retries": 0}


@pytest.mark.process
def test_a_week_with_a_model_that_fails_still_ends_in_ensembles_and_a_package(installation: Installation) -> None:
    """The jobs of `make week` at one horizon; a net whose window is longer than the data fails for good."""
    jobs = [job for plan in read_plans(days_in(MINI_WEEK), profile=M4) for job in plan.jobs]
    installation.enqueue(*(of_the_slice(job) for job in jobs if job.name in {*SLICE, BROKEN}))

    installation.start_daemon("--until-empty", wait=False).wait(240)

    states = {name: installation.job(name).state for name in SLICE}
    assert set(states.values()) <= {"succeeded", "vetoed"}, states
    assert states["export-6m"] == "succeeded"
    assert installation.job(BROKEN).state == "failed"
    assert BROKEN in installation.cli("show", "mean_ensemble-6m"), "who was left out is told"
    (package,) = (installation.settings.models / "vertex-ai" / "6m").glob("v*")
    assert (package / "forecast.py").is_file()
    rows = {line.split()[0]: line.split() for line in table_of(installation.root / "state").splitlines()}
    assert rows["simple_neural"][1:4] == ["1", "0", "1"], "jobs, done, failed"
    assert rows["all"][1] == str(len(SLICE) + 1)


@pytest.mark.torture
@pytest.mark.process
@pytest.mark.timeout(7200)
def test_ten_kills_in_the_mini_week_repeat_nothing_that_succeeded(
    installation: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    """Daemon, trainer or both, at ten random moments of all 113 jobs; then it goes on to the end."""
    storm = Storm(installation, SEED)
    installation.cli("enqueue", str(MINI_WEEK))
    while storm.kills.total() < KILLS and storm.is_busy():
        storm.strike(longest_life_s=60.0)
    for _ in range(5):
        if not storm.is_busy():
            break
        installation.start_daemon("--until-empty", wait=False).wait(3600)

    with Ledger.open_readonly(installation.settings.ledger_path) as ledger:
        states = Counter(row["state"] for row in ledger.conn.execute("SELECT state FROM jobs"))
        query = "SELECT job_id, SUM(outcome = 'success') AS won, MAX(number) AS last FROM attempts GROUP BY job_id"
        won = Counter(row["won"] for row in ledger.conn.execute(query))
        query = "SELECT metrics ->> '$.trials' AS n FROM jobs WHERE name LIKE 'lightgbm-tuned-%'"
        trials = {row["n"] for row in ledger.conn.execute(query)}
    with capsys.disabled():
        print(f"\nmini week: {dict(storm.kills)}, seed {SEED}\n{table_of(installation.root / 'state')}")
    assert storm.kills.total() >= KILLS
    assert set(states) <= {"succeeded", "vetoed"}, states
    assert won == {1: states.total()}, "every job succeeded exactly once"
    assert len(trials) == 1, "no killed study has tried more, or fewer"
    assert all(entry["alone"] for entry in installation.overlaps())
