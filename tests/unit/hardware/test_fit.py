"""From an estimate to a verdict, with the micro-batch to start with."""

from __future__ import annotations

import itertools

import pytest

from cbi_queue.hardware.fit import Need, Verdict, fit
from cbi_queue.hardware.profiles import profile_named
from cbi_queue.models.memory_formulas import CorrectionLine, Shape

LINE = CorrectionLine(100.0, 2.0, 0.5, spread_mib=10.0)
PARAMS = {"hidden_size": 1, "sequence_length": 256, "batch_size": 32}


def net(micro_batch: int = 32) -> Need:
    """About 8 MiB a sample: 256 steps of 3,000 features, times 1.3, times 2."""
    return Need("lstm", PARAMS, Shape(5000, 3000, "a test"), LINE, micro_batch)


def trees() -> Need:
    return Need("lightgbm_dart", {"n_estimators": 1, "max_depth": 1}, Shape(2**17, 1024, "a test"), LINE, None)


def test_a_job_that_stays_below_the_limit_fits_as_planned() -> None:
    found = fit(net(), 1000.0, 1000.0)
    assert (found.verdict, found.chosen.micro_batch) == (Verdict.FITS, 32)


def test_the_micro_batch_is_the_largest_half_whose_safe_figure_fits() -> None:
    need = net()
    limit = need.at(8).safe_mib
    found = fit(need, limit)
    assert (found.verdict, found.chosen.micro_batch) == (Verdict.SMALLER, 8)
    assert need.at(16).corrected_mib > need.at(8).safe_mib or need.at(16).safe_mib > limit
    assert "with micro-batch 32 it may need up to" in found.words
    assert "starts with micro-batch 8" in found.words
    assert fit(need, limit - 1).chosen.micro_batch == 4


def test_doubt_alone_refuses_nothing() -> None:
    """The probable figure of the smallest batch fits: it is tried, and running out would be settled."""
    need = net()
    found = fit(need, need.at(1).corrected_mib)
    assert (found.verdict, found.chosen.micro_batch) == (Verdict.SMALLER, 1)


def test_a_job_whose_smallest_batch_is_too_large_cannot_fit_and_says_its_figures() -> None:
    need = net()
    found = fit(need, need.at(1).corrected_mib - 1)
    assert found.verdict is Verdict.CANNOT
    assert found.words == "needs about 108 MiB even with micro-batch 1; one trainer may hold 107 MiB here"


def test_trees_have_no_smaller_batch() -> None:
    assert fit(trees(), 1000.0).verdict is Verdict.CANNOT
    assert "micro-batch" not in fit(trees(), 1000.0).words
    assert fit(trees(), 3000.0).verdict is Verdict.FITS


def test_memory_that_is_short_just_now_makes_a_job_wait_and_not_smaller() -> None:
    """A micro-batch stays with a job for life; what fills the memory just now does not."""
    found = fit(net(), 1000.0, 200.0)
    assert (found.verdict, found.chosen.micro_batch) == (Verdict.WAITS, 32)
    assert found.words.endswith("200 MiB are free now")


def test_what_is_not_known_is_neither_promised_nor_refused() -> None:
    assert fit(net(), None, 1.0).verdict is Verdict.UNKNOWN
    assert fit(net(), 1000.0, None).verdict is Verdict.FITS


@pytest.mark.parametrize("start", [1, 2, 3, 33])
def test_halving_ends_at_one_from_anywhere(start: int) -> None:
    sizes = [estimate.micro_batch for estimate in net(start).smaller()]
    assert sizes[0] == start
    assert sizes[-1] == 1
    assert all(later == earlier // 2 for earlier, later in itertools.pairwise(sizes))


@pytest.mark.parametrize(("steps", "starts_with"), [(256, 128), (90, 256), (16, 2048)])
def test_no_more_than_32768_steps_go_through_a_net_on_metal_at_once(steps: int, starts_with: int) -> None:
    """Above, gradients have been wrong there without an error, and the effective batch does not need it."""
    params = {**PARAMS, "sequence_length": steps, "batch_size": 2048}
    need = Need("lstm", params, Shape(5000, 3, "a test"), LINE, 2048)
    ceiling = profile_named("m4-32gb").micro_batch_ceiling_for(params)
    found = fit(need, 1e6, ceiling=ceiling)

    assert found.chosen.micro_batch == starts_with
    assert (found.verdict is Verdict.SMALLER, "on Metal more than" in found.words) == (starts_with < 2048,) * 2
    assert profile_named("cuda").micro_batch_ceiling_for(params) is None
    assert profile_named("m4-32gb").micro_batch_ceiling_for({"n_estimators": 5}) is None


def test_memory_may_ask_for_less_than_metal_does() -> None:
    need = net()
    found = fit(need, need.at(4).safe_mib, ceiling=16)
    assert (found.verdict, found.chosen.micro_batch) == (Verdict.SMALLER, 4)
