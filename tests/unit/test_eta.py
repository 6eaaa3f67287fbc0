"""When the queue will be done: what is learned from runs, in which order jobs run, and how sure the sum is."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace

import pytest

from cbi_queue.eta import Pending, Running, claim_order, finish
from cbi_queue.ledger.durations import Works
from cbi_queue.run_times import BASELINE, Durations, Run, Work

LSTM = Work("simple_neural", "lstm", "{}", "1w", length=100.0)
GRU = replace(LSTM, model="gru")
TREES = Work("trees", "lightgbm_dart", "{}", "1w", length=500.0)


def runs(work: Work = LSTM, *seconds: float, **keys: float) -> list[Run]:
    """Runs of one kind that used all their epochs, and only fitted."""
    return [Run(work, each, keys.get("fit_s", each), keys.get("used", work.length)) for each in seconds]


def jobs(count: int, work: Work = LSTM) -> list[Pending]:
    return [Pending(number, work) for number in range(1, count + 1)]


def test_without_history_nothing_is_known() -> None:
    assert Durations([]).of(LSTM) is None
    assert finish(Durations([]), jobs(3)) is None


def test_baselines_and_caches_say_nothing_about_a_net() -> None:
    """Twenty baselines of half a second must not promise a week of nets in a minute."""
    known = Durations(
        runs(Work(BASELINE, "naive", "{}", "1w"), *[0.5] * 20) + runs(Work("features", "cache", "{}", "1w"), 1.0)
    )

    assert known.of(LSTM) is None
    found = finish(known, [*jobs(2), Pending(3, Work(BASELINE, "naive", "{}", "1w"))])
    assert found is not None
    assert (found.jobs, found.unknown) == (1, 2)


def test_a_known_recipe_takes_what_it_took() -> None:
    guess = Durations(runs(LSTM, 95.0, 100.0, 104.0)).of(LSTM)

    assert guess is not None
    assert guess.median_s == pytest.approx(100.0, rel=0.05)
    assert (guess.level, guess.is_guess) == ("same", False)


def test_one_odd_run_moves_a_known_recipe_little() -> None:
    guess = Durations(runs(LSTM, 100.0, 101.0, 4000.0, 99.0, 100.0)).of(LSTM)

    assert guess is not None
    assert guess.median_s == pytest.approx(100.0, rel=0.15)


def test_the_work_grows_with_the_epochs_and_the_rows_and_the_start_does_not() -> None:
    """Ten seconds of a run are no fitting: imports, features, scores, files."""
    known = Durations(runs(LSTM, *[110.0] * 12, fit_s=100.0))

    twice = known.of(replace(LSTM, length=200.0))
    rows = known.of(replace(LSTM, size=3.0))
    assert twice is not None
    assert rows is not None
    assert twice.median_s == pytest.approx(210.0, rel=0.05)
    assert rows.median_s == pytest.approx(310.0, rel=0.05)


def test_more_epochs_do_not_lengthen_what_stopped_early() -> None:
    known = Durations(runs(LSTM, *[50.0] * 12, used=30.0))

    more, fewer = known.of(replace(LSTM, length=400.0)), known.of(replace(LSTM, length=15.0))
    assert more is not None
    assert fewer is not None
    assert more.median_s == pytest.approx(50.0, rel=0.05)
    assert fewer.median_s == pytest.approx(25.0, rel=0.05)


def test_a_model_that_never_ran_is_a_guess_from_its_family_and_less_sure() -> None:
    known = Durations(runs(LSTM, *[100.0] * 6) + runs(TREES, *[10.0] * 6))

    guess, sure = known.of(GRU), known.of(LSTM)
    assert guess is not None
    assert sure is not None
    assert (guess.level, guess.is_guess) == ("family", True)
    assert guess.median_s == pytest.approx(100.0, rel=0.3)
    assert guess.spread > 3 * sure.spread
    assert known.of(Work("volatility", "garch", "{}", "1w")).level == "any"  # type: ignore[union-attr]


def test_guesses_that_come_true_make_the_next_ones_surer_and_a_wrong_one_does_not() -> None:
    """Eight families of short jobs take two seconds each: the ninth is no longer expected to differ by a factor of ten."""
    alike, unlike = ([2.0] * 8, [2.0, 40.0, 0.3, 90.0, 2.0, 60.0, 0.2, 30.0])
    ninth = Work("meta", "stacker", "{}", "1w")

    def taught(seconds: list[float]) -> Durations:
        return Durations([Run(Work(f"family {n}", f"model {n}", "{}", "1w"), s) for n, s in enumerate(seconds)])

    after_one, near, far = (taught(seconds).of(ninth) for seconds in (alike[:1], alike, unlike))
    assert after_one is not None
    assert near is not None
    assert far is not None
    assert near.median_s == pytest.approx(2.0, rel=0.05)
    assert near.spread < 0.75 * after_one.spread
    assert far.unknown[1:] == after_one.unknown[1:]


def test_the_first_runs_of_whatever_tell_how_fast_the_machine_is() -> None:
    """Caches and baselines took twice their first costs, so a net will, give or take; a much longer job less surely."""
    caches = [Work("features", "cache", "{}", f"{n}w", cost=(4.0, 0.0)) for n in range(5)]
    bars = [Work(BASELINE, "naive", "{}", f"{n}w", cost=(0.5, 0.0)) for n in range(5)]
    known = Durations([Run(work, 2.0 * work.first_guess_s()) for work in (*caches, *bars)])
    short, long = replace(LSTM, cost=(5.0, 0.01)), replace(LSTM, cost=(5.0, 100.0))

    guess, far = known.of(short), known.of(long)
    assert guess is not None
    assert far is not None
    assert (guess.level, guess.is_guess) == ("any", True)
    assert guess.median_s == pytest.approx(2.0 * 6.0, rel=0.1)
    assert far.median_s == pytest.approx(2.0 * 10_005.0, rel=0.1)
    assert 0.5 < guess.spread < far.spread
    assert known.of(LSTM) is None, "a model without first costs is told by nothing of this"


def test_a_machine_whose_pace_wanders_makes_the_band_wider() -> None:
    """The same lengths, one after the other by chance, or in waves: only the waves go on."""
    lengths = [100.0 * math.exp(0.5 * math.sin(n / 5)) for n in range(60)]
    mixed = random.Random(5).sample(lengths, len(lengths))
    waves, noise = (finish(Durations(runs(LSTM, *each)), jobs(30)) for each in (lengths, mixed))

    assert waves is not None
    assert noise is not None
    assert waves.high_s / waves.low_s > 1.2 * noise.high_s / noise.low_s


def test_trials_of_a_search_are_made_once_and_not_at_every_refit() -> None:
    params = '{"backtest_rows":20,"refit_every_rows":10,"scheme":"walk_forward","search_folds":3%s}'
    plain, tuned = (
        Works().of("trees", "lightgbm_dart", "1w", params % more, None) for more in ("", ',"search_trials":4')
    )

    assert tuned.size / plain.size == pytest.approx((3 + 4 * 3) / 3)


def test_a_command_says_how_long_its_like_takes_and_of_another_little() -> None:
    """`eta` gave 2 s, without a word of a guess, for a net of two minutes: every script was one model."""
    first, again, other = (
        Works().of("script", "command", "", json.dumps({"command": ["python", *words]}), None)
        for words in (["a.py", "--lr", "0.1"], ["a.py", "--lr", "1e-4"], ["b.py"])
    )
    known = Durations(runs(first, *[0.5] * 6))

    like, unlike = known.of(again), known.of(other)
    assert like is not None
    assert unlike is not None
    assert (like.is_guess, unlike.is_guess) == (False, True)
    assert unlike.spread > 1.5 * like.spread


def test_one_run_of_a_model_outweighs_its_family() -> None:
    known = Durations(runs(LSTM, *[100.0] * 6) + runs(GRU, 20.0))

    guess = known.of(GRU)
    assert guess is not None
    assert guess.level == "same"
    assert guess.median_s == pytest.approx(20.0, rel=0.25)


def test_a_machine_that_has_become_slow_is_expected_to_stay_so_for_now() -> None:
    steady = Durations(runs(LSTM, *[100.0] * 20))
    hot = Durations(runs(LSTM, *[100.0] * 20) + runs(TREES, *[10.0] * 9) + runs(LSTM, *[150.0] * 8))

    was, is_now = finish(steady, jobs(5, TREES)), finish(hot, jobs(5, TREES))
    assert was is not None
    assert is_now is not None
    assert steady.pace == pytest.approx(0.0, abs=0.01)
    assert 0.1 < hot.pace < math.log(1.5) + 0.01
    assert is_now.median_s > 55.0
    usual, soon = hot.of(TREES), hot.soon(TREES)
    assert usual is not None
    assert soon is not None
    assert soon.median_s == pytest.approx(usual.median_s * math.exp(hot.pace))
    assert is_now.median_s == pytest.approx(5 * soon.median_s, rel=0.1), "what is said of each job adds up"


def test_errors_are_counted_as_often_as_a_job_may_be_retried() -> None:
    history = runs(LSTM, *[100.0] * 20)
    fine, faulty = Durations(history, attempts=100), Durations(history, errors=40, attempts=100)
    retried = [replace(job, retries=2) for job in jobs(10)]

    before, after = finish(fine, retried), finish(faulty, retried)
    assert before is not None
    assert after is not None
    assert after.median_s > 1.15 * before.median_s


def test_the_order_is_that_of_the_claim() -> None:
    """The highest priority, then the lowest number, each after what it needs."""
    queue = [
        Pending(1, LSTM), Pending(2, LSTM, priority=5, needs=(4,)), Pending(3, LSTM, priority=9), Pending(4, LSTM),
    ]  # fmt: skip

    order, idle_s = claim_order(queue, dict.fromkeys(range(1, 5), 60.0))

    assert [job.id for job in order] == [3, 1, 4, 2]
    assert idle_s == 0.0


def test_a_retry_that_waits_lets_others_go_first_and_is_waited_for_at_the_end() -> None:
    queue = [Pending(1, LSTM, priority=9, wait_s=200.0), Pending(2, LSTM), Pending(3, LSTM, needs=(7,))]

    order, idle_s = claim_order(queue, {1: 60.0, 2: 60.0, 3: 60.0})

    assert [job.id for job in order] == [2, 3, 1]
    assert idle_s == pytest.approx(80.0)


def test_the_same_question_has_the_same_answer() -> None:
    known = Durations(runs(LSTM, 80.0, 100.0, 130.0))

    assert finish(known, jobs(12)) == finish(known, jobs(12))


def test_ten_thousand_jobs_are_summed_as_ten_are() -> None:
    known = Durations(runs(LSTM, *[100.0] * 20))

    few, many = finish(known, jobs(10)), finish(known, jobs(10_000))
    assert few is not None
    assert many is not None
    assert many.median_s == pytest.approx(1000 * few.median_s, rel=0.05)
    assert (many.high_s - many.low_s) / many.median_s < (few.high_s - few.low_s) / few.median_s


def test_what_is_not_known_of_a_model_is_shared_by_its_jobs() -> None:
    """Twenty jobs of one unknown model are one unknown, not twenty that even out."""
    known = Durations(runs(LSTM, *[100.0] * 100))

    guesses, sure = finish(known, jobs(20, GRU)), finish(known, jobs(20))
    assert guesses is not None
    assert sure is not None
    assert guesses.guesses == 20
    assert guesses.high_s / guesses.low_s > 4
    assert sure.high_s / sure.low_s < 1.8


def test_the_job_in_the_slot_counts_with_what_is_left_of_it() -> None:
    known = Durations(runs(LSTM, *[100.0] * 20))

    left = finish(known, (), Running(LSTM, elapsed_s=70.0))
    told = finish(known, (), Running(LSTM, elapsed_s=70.0, share_done=0.5, remaining_s=70.0))
    late = finish(known, (), Running(LSTM, elapsed_s=70.0, share_done=0.98, remaining_s=2.0))
    assert left is not None
    assert told is not None
    assert late is not None
    assert left.median_s == pytest.approx(33.0, abs=8.0)
    assert left.median_s < told.median_s < 70.0
    assert late.median_s < 15.0


def test_a_job_that_takes_longer_than_any_before_still_has_time_left_until_that_is_absurd() -> None:
    """Forty days of sleep, or since its daemon died, promised the end of a short job decades ahead."""
    known = Durations(runs(LSTM, *[100.0] * 20))

    found = finish(known, (), Running(LSTM, elapsed_s=9_000.0))
    assert found is not None
    assert 0.0 < found.median_s < math.inf
    assert finish(known, (), Running(LSTM, elapsed_s=90_000.0)) is None
    rest = finish(known, jobs(3), Running(LSTM, elapsed_s=90_000.0))
    assert (rest.jobs, rest.unknown, rest.guesses) == (3, 1, 0)


def test_reports_of_a_job_that_never_ran_are_enough() -> None:
    found = finish(Durations([]), (), Running(LSTM, 50.0, share_done=0.5, remaining_s=50.0))

    assert found is not None
    assert found.median_s == pytest.approx(50.0, rel=0.3)


def test_the_band_holds_four_of_five_ends() -> None:
    """Three kinds of job whose lengths scatter by a fifth, at a steady pace: the band is neither a wish nor an excuse."""
    chance = random.Random(3)
    kinds = [(LSTM, 100.0), (GRU, 40.0), (TREES, 10.0)]
    held = 0
    for _ in range(60):
        history = [
            run
            for work, long in kinds
            for run in runs(work, *(long * chance.lognormvariate(0, 0.2) for _ in range(30)))
        ]
        found = finish(Durations(history), [Pending(number, kinds[number % 3][0]) for number in range(12)])
        real = sum(long * chance.lognormvariate(0, 0.2) for _ in range(4) for _, long in kinds)
        assert found is not None
        held += found.low_s <= real <= found.high_s
    assert 42 <= held <= 59
