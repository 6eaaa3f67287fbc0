"""The order in which one slot runs jobs, and circles."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from cbi_queue.plan.order import circles, execution_order
from cbi_queue.spec import JobSpec


def job(name: str, priority: int = 0, needs: tuple[str, ...] = ()) -> JobSpec:
    """A features job called *name*."""
    content = {"day": 0, "family": "features", "model": "feature_cache", "horizon": "1w"}
    return JobSpec.model_validate({**content, "name": name, "priority": priority, "needs": needs})


def names(jobs: list[JobSpec]) -> list[str]:
    """Names in execution order."""
    return [spec.name for spec in execution_order(jobs)]


def test_the_higher_priority_runs_first_then_plan_order() -> None:
    assert names([job("a"), job("b", 5), job("c"), job("d", 5), job("e", -1)]) == ["b", "d", "a", "c", "e"]


def test_a_job_runs_after_what_it_needs_whatever_its_priority() -> None:
    assert names([job("late", 1000, ("early",)), job("other"), job("early", -5)]) == ["other", "early", "late"]


def test_a_job_whose_needs_are_met_overtakes_waiting_ones_of_lower_priority() -> None:
    assert names([job("f", 10), job("x", 0), job("t", 5, ("f",))]) == ["f", "t", "x"]


def test_needs_outside_the_jobs_count_as_met() -> None:
    assert names([job("a", needs=("in-the-queue",))]) == ["a"]


def test_jobs_in_a_circle_are_left_out() -> None:
    assert names([job("a", needs=("b",)), job("b", needs=("a",)), job("c")]) == ["c"]


@given(st.dictionaries(st.integers(0, 12), st.sets(st.integers(0, 12), max_size=4), max_size=13))
def test_either_there_is_a_circle_or_everything_is_ordered(graph: dict[int, set[int]]) -> None:
    """`plan check` says `no circle` and `plan show` prints every job: the two must agree on any graph."""
    needs = {f"j{name}": tuple(f"j{need}" for need in wanted if need in graph) for name, wanted in graph.items()}
    ordered = names([job(name, needs=wanted) for name, wanted in needs.items()])
    found = circles(needs)
    assert bool(found) == (len(ordered) < len(needs))
    for i, name in enumerate(ordered):
        assert set(needs[name]) <= set(ordered[:i])
    for circle in found:
        assert circle[0] == circle[-1]
        assert all(after in needs[before] for before, after in itertools.pairwise(circle))


def test_a_dense_tangle_is_told_once() -> None:
    """Fifty jobs that all need each other hold more circles than there are atoms."""
    tangle = {f"j{i}": [f"j{k}" for k in range(50)] for i in range(50)}
    assert len(circles(tangle)) <= 50
