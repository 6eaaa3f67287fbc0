"""Data change under a queue: features are built again, what has not started follows, what was trained stays."""

from __future__ import annotations

import pytest
from support.ledger_rows import plan, spec, story

from cbi_queue.datasets.snapshots import Snapshots
from cbi_queue.ledger import queries
from cbi_queue.ledger.claims import claim, peek
from cbi_queue.ledger.enqueue import enqueue
from cbi_queue.ledger.settlement import fail, finish
from cbi_queue.ledger.verbs import cancel, retry
from cbi_queue.lifecycle import Outcome, Reason

OLD, NEW = "a" * 64, "b" * 64
KEY = ("default", "1w")
PLAN = plan(
    spec("f", family="features", model="feature_cache"), spec("n", needs=["f"]), spec("d", model="drift", needs=["f"])
)


def data(exports: str, caches: str | None, key: tuple[str, str] = KEY) -> Snapshots:
    return Snapshots({key: exports}, {key: caches} if caches else {})


def finish_next(ledger) -> str:
    row = peek(ledger)
    claim(ledger, row.id)
    finish(ledger, row.id, metrics={})
    return row.name


@pytest.fixture
def trained(ledger):
    """Features and one model trained on the old data; `d` still queued."""
    enqueue(ledger, [PLAN], data(OLD, None))
    assert [finish_next(ledger), finish_next(ledger)] == ["f", "n"]
    return ledger


def test_the_same_plan_on_the_same_data_changes_nothing(trained):
    again = enqueue(trained, [PLAN], data(OLD, OLD))

    assert (again.new, again.renewed) == ((), ())
    assert [job.data for job in again.already_there] == ["same"] * 3


def test_features_of_changed_data_are_queued_again_and_what_was_trained_stays(trained):
    again = enqueue(trained, [PLAN], data(NEW, OLD))

    assert [(job.name, job.data) for job in again.new] == [("f", "changed")]
    assert {job.name: job.data for job in again.already_there} == {"n": "older", "d": "same"}
    assert queries.find_job(trained, "n").snapshot == OLD
    assert queries.find_job(trained, "f").snapshot == NEW


def test_what_has_not_started_waits_for_the_new_features_whatever_its_plan(trained):
    """Otherwise it would find features of another snapshot, and the whole queue would fail one by one."""
    enqueue(trained, [plan(spec("other", model="drift", params={"seed": 3}))], data(OLD, OLD))

    again = enqueue(trained, [plan(PLAN.jobs[0])], data(NEW, OLD))

    assert {job.name for job in again.renewed} == {"d", "other"}
    for name in ("d", "other"):
        row = queries.find_job(trained, name)
        assert (row.state, row.snapshot) == ("waiting", NEW)
        assert story(trained, row.id)[-2:] == ["data_renewed", "await_needs"]
    assert [finish_next(trained) for _ in range(3)] == ["f", "d", "other"]


def test_refresh_queues_a_whole_plan_again(trained):
    again = enqueue(trained, [PLAN], data(NEW, OLD), refresh=True)

    assert [job.name for job in again.new] == ["f", "n"]
    assert [finish_next(trained) for _ in range(3)] == ["f", "d", "n"]
    assert enqueue(trained, [PLAN], data(NEW, NEW), refresh=True).new == ()


def test_a_new_model_trains_on_the_features_that_will_stand(trained):
    late = spec("late", model="seasonal_naive", needs=["f"])

    enqueue(trained, [plan(*PLAN.jobs, late)], data(NEW, OLD))
    alone = spec("alone", model="seasonal_naive", params={"season_rows": 7})
    enqueue(trained, [plan(alone)], data("c" * 64, OLD))

    assert queries.find_job(trained, "late").snapshot == NEW
    assert queries.find_job(trained, "alone").snapshot == NEW


def test_without_its_features_job_a_model_is_for_the_features_on_the_disk(trained):
    enqueue(trained, [plan(spec("alone", model="seasonal_naive"))], data(NEW, OLD))

    assert queries.find_job(trained, "alone").snapshot == OLD


@pytest.mark.parametrize("cache", [None, NEW])
def test_features_are_built_again_when_their_cache_is_gone_or_of_other_data(trained, cache):
    """An export that was put back has its old features job in the queue already, but no longer its features."""
    assert [job.name for job in enqueue(trained, [PLAN], data(OLD, cache)).new] == ["f"]


def test_what_failed_on_the_old_data_is_queued_again_on_new_ones_and_what_was_cancelled_is_not(ledger):
    enqueue(ledger, [PLAN], data(OLD, None))
    row = peek(ledger)
    claim(ledger, row.id)
    fail(ledger, row.id, Outcome.ERROR, Reason.BROKEN_SPEC, "26 days without a price")
    cancel(ledger, ["d"])

    again = enqueue(ledger, [PLAN], data(NEW, None))

    assert [job.name for job in again.new] == ["f"]
    assert [finish_next(ledger), finish_next(ledger)] == ["f", "n"]
    assert queries.find_job(ledger, "d").state == "cancelled"


def test_a_retried_features_job_takes_the_repaired_export_and_its_models_follow(ledger):
    enqueue(ledger, [PLAN], data(OLD, None))
    row = peek(ledger)
    claim(ledger, row.id)
    fail(ledger, row.id, Outcome.ERROR, Reason.BROKEN_SPEC, "26 days without a price")

    retry(ledger, ["f"], data(NEW, None))

    assert {name: queries.find_job(ledger, name).snapshot for name in "fnd"} == {"f": NEW, "n": NEW, "d": NEW}
    assert [finish_next(ledger) for _ in range(3)] == ["f", "n", "d"]


def test_a_running_job_finishes_on_the_data_it_began_with(trained):
    row = peek(trained)
    claim(trained, row.id)

    again = enqueue(trained, [PLAN], data(NEW, OLD))

    assert {job.name: job.data for job in again.already_there} == {"n": "older", "d": "older"}
    assert queries.find_job(trained, "d").snapshot == OLD


def test_jobs_of_before_snapshots_are_left_alone_while_their_features_stand(ledger):
    """An upgrade must not train a whole week again."""
    enqueue(ledger, [PLAN])
    assert [finish_next(ledger) for _ in range(3)] == ["f", "n", "d"]

    assert enqueue(ledger, [PLAN], data(OLD, OLD)).new == ()
    assert [job.name for job in enqueue(ledger, [PLAN], data(NEW, OLD)).new] == ["f"]


def test_two_data_sets_do_not_touch_each_other(trained):
    corn = plan(
        *(job.model_copy(update={"name": f"{job.name}-corn", "dataset": "corn", "needs": ()}) for job in PLAN.jobs)
    )

    done = enqueue(trained, [corn], data(NEW, None, ("corn", "1w")))

    assert (len(done.new), done.renewed) == (3, ())
    assert queries.find_job(trained, "d").snapshot == OLD
