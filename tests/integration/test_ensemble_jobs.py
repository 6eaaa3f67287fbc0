"""Jobs that come after others whatever became of them, and ensembles: which runs they combine, and when they are stale."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from support.installation import NAIVE
from support.ledger_rows import add, dump_of, job, plan, spec, story

from cbi_queue.cli.verbs.enqueue import print_enqueued
from cbi_queue.errors import Refused
from cbi_queue.identity import identity_of
from cbi_queue.ledger import queries
from cbi_queue.ledger.claims import claim, peek
from cbi_queue.ledger.enqueue import enqueue
from cbi_queue.ledger.members import members_of, take_members
from cbi_queue.ledger.settlement import fail, finish, requeue_after_crash
from cbi_queue.ledger.verbs import accept, cancel, hold, release, retry
from cbi_queue.ledger.waits import mark_unfit
from cbi_queue.lifecycle import JobState, Outcome, Reason
from cbi_queue.spec import JobSpec

if TYPE_CHECKING:
    from support.installation import Installation

    from cbi_queue.ledger import Ledger

SCORES = {"backtest": {"skill_mae": 0.01}, "scheme": "holdout"}
MEAN = {"family": "meta", "model": "mean_ensemble"}
SNAPSHOT, OTHER = "a" * 64, "b" * 64


def done(ledger: Ledger, number: int, veto: str | None = None, **metrics: Any) -> None:
    """Let the job succeed, or be vetoed."""
    assert claim(ledger, number) is not None, peek(ledger)
    finish(ledger, number, metrics={**SCORES, **metrics}, veto=veto)


def broken(ledger: Ledger, number: int) -> None:
    """Let the job fail."""
    assert claim(ledger, number) is not None
    fail(ledger, number, Outcome.ERROR, Reason.RETRIES_SPENT, "it broke")


def ended(ledger: Ledger, how: str) -> None:
    """Make `base` end, or stop, as *how* says."""
    number = job(ledger, "base").id
    match how:
        case "succeeded":
            done(ledger, number)
        case "vetoed":
            done(ledger, number, veto="too good to be true")
        case "failed":
            broken(ledger, number)
        case "cancelled":
            cancel(ledger, ["base"])
        case "takes the daemon down":
            claim(ledger, number)
            requeue_after_crash(ledger, number, 3, backoff_s=0.0)
        case "never fits":
            mark_unfit(ledger, number, "it needs 99 GB", 3600.0)


@pytest.mark.parametrize("how", ["succeeded", "vetoed", "failed", "cancelled", "takes the daemon down", "never fits"])
def test_a_job_comes_after_another_whatever_becomes_of_it(ledger, how):
    enqueue(ledger, [plan(spec("base"), spec("next", after=["base"]), spec("strict", needs=["base"]))])
    assert job(ledger, "next").state == "waiting"

    ended(ledger, how)

    assert job(ledger, "next").state == "queued"
    assert "satisfy" in story(ledger, "next")
    assert job(ledger, "strict").state == ("queued" if how == "succeeded" else "waiting")


def test_it_waits_while_the_other_may_still_run(ledger):
    """Held by the user, or retried after an error: that is no end."""
    enqueue(ledger, [plan(spec("base"), spec("next", after=["base"]))])
    hold(ledger, ["base"])
    assert job(ledger, "next").state == "waiting"
    release(ledger, ["base"])
    cancel(ledger, ["base"])
    assert job(ledger, "next").state == "queued"


def test_a_job_that_waits_for_one_that_failed_has_stopped_too(ledger):
    """Otherwise a features job that fails would keep the ensembles of every horizon from starting."""
    chain = plan(
        spec("base"), spec("middle", needs=["base"]), spec("last", needs=["middle"]), spec("end", after=["last"])
    )
    enqueue(ledger, [chain])

    ended(ledger, "failed")

    assert [job(ledger, name).state for name in ("middle", "last", "end")] == ["waiting", "waiting", "queued"]


def test_what_has_stopped_before_keeps_nobody_waiting(ledger):
    add(ledger, "base")
    ended(ledger, "failed")

    enqueue(ledger, [plan(spec("next", after=["base"]), spec("strict", needs=["base"]))])

    assert (job(ledger, "next").state, job(ledger, "strict").state) == ("queued", "waiting")
    assert [row.name for row in queries.failed_since(ledger, 10**9)] == ["strict"], "only that one waits in vain"
    assert queries.needs_of(ledger)[job(ledger, "strict").id] == [1]
    assert job(ledger, "next").id not in queries.needs_of(ledger)


def test_both_ways_of_waiting_for_one_job_are_the_stricter(ledger):
    enqueue(ledger, [plan(spec("base"), spec("next", needs=["base"], after=["base"]))])
    ended(ledger, "failed")
    assert job(ledger, "next").state == "waiting"
    retry(ledger, ["base"])
    done(ledger, job(ledger, "base").id)
    assert job(ledger, "next").state == "queued"


def test_an_unknown_one_is_refused_by_name(ledger):
    with pytest.raises(Refused, match="cannot enqueue next: it comes after 'nowhere', which is neither"):
        add(ledger, "next", after=["nowhere"])


def test_specs_without_it_keep_their_identity():
    old = JobSpec.model_validate({**NAIVE, "day": 1, "name": "plain"})
    assert not {"after", "combines"} & set(old.canonical_json().split('"'))
    assert "after" in JobSpec.model_validate({**NAIVE, "day": 1, "name": "plain", "after": ["x"]}).canonical_json()


def furnished(ledger: Ledger, **keys: Any) -> None:
    """Enqueue and end runs of every kind: two good ones, and those that must not be combined."""
    jobs = [
        spec("drift", model="drift"), spec("good", model="theta"),
        *(spec(name, model="ets") for name in ("better", "vetoed", "broken", "stopped", "hollow", "walked")),
        spec("elsewhere", model="ets", dataset="corn"), spec("older", model="ets", snapshot=OTHER),
        spec("month", model="ets", horizon="1m"), spec("mean", **MEAN, **keys),
    ]  # fmt: skip
    enqueue(ledger, [plan(*jobs)])
    ledger.conn.execute(
        "UPDATE jobs SET spec = json_set(spec, '$.snapshot', ?) WHERE name NOT IN ('older', 'elsewhere')", (SNAPSHOT,)
    )
    ledger.conn.execute("UPDATE jobs SET spec = json_set(spec, '$.snapshot', ?) WHERE name = 'older'", (OTHER,))
    for name in ("drift", "good", "better"):
        done(ledger, job(ledger, name).id)
    done(ledger, job(ledger, "vetoed").id, veto="too good to be true: look for a column that knows the future")
    broken(ledger, job(ledger, "broken").id)
    cancel(ledger, ["stopped"])
    assert claim(ledger, job(ledger, "hollow").id)
    finish(ledger, job(ledger, "hollow").id, metrics={"volatility": {}})
    done(ledger, job(ledger, "walked").id, scheme="walk_forward")
    for name in ("elsewhere", "older", "month"):
        done(ledger, job(ledger, name).id)


def test_an_ensemble_that_names_nobody_combines_the_good_models_of_its_board(ledger):
    """No baseline, nothing vetoed or failed, nothing of other data, and it says what it would have taken."""
    furnished(ledger)
    members = members_of(ledger, job(ledger, "mean").spec)

    assert [row.name for row in members.taken] == ["better", "good"]
    assert dict(words.split(": ", 1) for words in members.left_out) == {
        "broken": "it failed",
        "vetoed": "vetoed: too good to be true: look for a column that knows the future",
    }


def test_an_ensemble_that_names_its_members_says_why_each_other_one_is_none(ledger):
    named = ["good", "drift", "vetoed", "broken", "stopped", "hollow", "walked", "elsewhere", "older", "month"]
    furnished(ledger, after=named)
    members = members_of(ledger, job(ledger, "mean").spec)

    assert [row.name for row in members.taken] == ["drift", "good"], "a baseline that is named takes part"
    assert dict(words.split(": ", 1) for words in members.left_out) == {
        "vetoed": "vetoed: too good to be true: look for a column that knows the future",
        "broken": "it failed",
        "stopped": "it was cancelled",
        "hollow": "it forecasts no price",
        "walked": "it was judged by walk_forward, this job by holdout",
        "elsewhere": "it reads the data set corn",
        "older": "it was trained on snapshot bbbbbbbb of the data, this job reads aaaaaaaa",
        "month": "it has not ended",
    }


def test_a_vetoed_run_that_was_accepted_takes_part_and_a_damaged_one_does_not(ledger):
    furnished(ledger)
    accept(ledger, ["vetoed"], "the column is known at the close")
    ledger.conn.execute("UPDATE jobs SET damage = 'model.json is missing' WHERE name = 'good'")
    members = members_of(ledger, job(ledger, "mean").spec)

    assert [row.name for row in members.taken] == ["better", "vetoed"]
    assert "good: its run is damaged: model.json is missing" in members.left_out


def started(ledger: Ledger, name: str = "mean") -> None:
    """Let the ensemble run to its end."""
    number = job(ledger, name).id
    assert claim(ledger, number) is not None
    take_members(ledger, job(ledger, name))
    finish(ledger, number, metrics=SCORES)


@pytest.fixture
def combined(ledger):
    """A ledger with two models and an ensemble of them, all ended; and their plan."""
    jobs = plan(spec("one", model="ets"), spec("two", model="theta"), spec("mean", **MEAN, after=["one", "two"]))
    enqueue(ledger, [jobs])
    for name in ("one", "two"):
        done(ledger, job(ledger, name).id)
    started(ledger)
    return jobs


def test_the_identity_covers_the_runs_that_were_combined(ledger, combined):
    mean = job(ledger, "mean")

    assert mean.spec["combines"] == ["1.1", "2.1"]
    assert mean.identity == identity_of(JobSpec.model_validate(mean.spec).canonical_json())
    (told,) = [event.words for event in queries.events_of(ledger, mean.id) if event.event == "members"]
    assert told == "combines one (job 1), two (job 2)"


def test_the_same_members_change_nothing(ledger, combined):
    before = dump_of(ledger)

    assert not enqueue(ledger, [combined]).new
    assert not enqueue(ledger, [combined], refresh=True).new
    assert dump_of(ledger) == before


def test_a_member_that_is_trained_again_makes_the_ensemble_stale(ledger, combined, capsys):
    """As with new data: left as it is and said, and `refresh` combines the new runs."""
    ledger.conn.execute("UPDATE jobs SET damage = 'a file is gone' WHERE name = 'one'")
    retry(ledger, ["one"])
    done(ledger, job(ledger, "one").id)

    kept = enqueue(ledger, [combined])
    print_enqueued(kept)
    assert {found.name: found.data for found in kept.already_there} == {"one": "same", "two": "same", "mean": "members"}
    assert "Made of earlier runs of their members, and left as they are: mean." in capsys.readouterr().out

    renewed = enqueue(ledger, [combined], refresh=True)
    print_enqueued(renewed)
    assert [(found.name, found.data) for found in renewed.new] == [("mean", "members_changed")]
    assert "queued again to combine the new runs: mean." in capsys.readouterr().out
    started(ledger)
    assert job(ledger, "mean").spec["combines"] == ["1.2", "2.1"]
    assert not enqueue(ledger, [combined], refresh=True).new


def test_an_ensemble_that_continues_keeps_its_identity_and_its_checkpoints(ledger, combined):
    """What it combines is decided anew each time that it starts; the same members are the same job."""
    mean = job(ledger, "mean")
    again, members = take_members(ledger, mean)

    assert again == mean
    assert members.runs == ("1.1", "2.1")
    assert story(ledger, "mean").count("members") == 1


DRIFT = {**NAIVE, "model": "drift"}
STACKER = {
    "family": "meta",
    "model": "lightgbm_stacker",
    "horizon": "1w",
    "params": {"least_independent": 3, "refit_every_rows": 10, "n_estimators": 200},
}


@pytest.mark.process
def test_a_failed_member_does_not_stop_the_stacker_and_kills_change_no_bit(installation: Installation) -> None:
    members = ["drift", "flat", "hasty"]
    installation.enqueue(
        {**DRIFT, "name": "drift"},
        {**NAIVE, "name": "flat"},
        {**NAIVE, "name": "hasty", "timeout_s": 0.01},
        {**STACKER, "name": "shaken", "after": members},
        {**STACKER, "name": "calm", "after": members, "priority": -1},
    )
    installation.hold("shaken", after=3)
    daemon = installation.start_daemon("--until-empty")
    installation.until_epoch("shaken", 3)
    installation.trainer("shaken").kill()
    installation.let_end("shaken")
    installation.until_state("shaken", "succeeded")
    assert daemon.wait(120) in {0, 1}

    assert installation.job("hasty").state is JobState.FAILED
    shaken, calm = installation.job("shaken"), installation.job("calm")
    assert [member["name"] for member in shaken.metrics["members"]] == ["drift", "flat"]
    assert shaken.metrics["left_out"] == ["hasty: it failed"]
    assert len(installation.attempts("shaken")) == 2
    first, second = (pl.read_parquet(Path(row.run_dir) / "predictions.parquet") for row in (shaken, calm))
    assert first.equals(second)
    told = installation.cli("show", "shaken")
    assert "Left out: hasty: it failed" in told
    assert "Best single member by validation: " in told
    board = installation.cli("leaderboard", "--horizon", "1w")
    assert "No ensemble beats the best single model by validation" in board


@pytest.mark.process
def test_an_ensemble_of_nobody_fails_in_words(installation: Installation) -> None:
    installation.enqueue(
        {**NAIVE, "name": "hasty", "timeout_s": 0.01}, {**STACKER, "name": "lonely", "after": ["hasty"]}
    )
    installation.start_daemon("--until-empty").wait(60)

    (attempt,) = installation.attempts("lonely")
    assert attempt.error is not None
    assert "lonely has no run to combine. Left out: hasty: it failed." in attempt.error
