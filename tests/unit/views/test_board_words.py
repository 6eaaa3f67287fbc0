"""The sentences under a board and the plots in it: luck is never called skill."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.api_installation import scores
from support.board_jobs import make_job

from cbi_queue.lifecycle import JobState
from cbi_queue.views.board_words import heading, independent_words, interval_plot, reach, sentences, unranked
from cbi_queue.views.comparison import Comparison
from cbi_queue.views.leaderboard import LeaderboardRow, rank


def board(*jobs, title="1w"):
    return rank(jobs)[title]


def test_a_skill_that_luck_explains_is_not_said_to_beat_naive():
    rows = board(make_job(1, "ets", 0, metrics=scores(0.08, se=0.05, p=0.2)))

    assert sentences(rows) == ["No model is told apart from naive (n = 101 independent weeks)."]


def test_a_model_beats_naive_when_it_is_told_apart():
    rows = board(
        make_job(1, "ets", 0, name="good", metrics=scores(0.1, se=0.01, p=0.001)),
        make_job(2, "ets", 0, name="lucky", metrics=scores(0.2, se=0.2, p=0.3)),
        make_job(3, "ets", 0, name="bad", metrics=scores(-0.1, se=0.01, p=0.001)),
    )

    assert sentences(rows) == [
        "1 of 3 models beats naive beyond luck (n = 101 independent weeks): good. Worse than naive, beyond luck: bad."
    ]


def test_worse_models_alone_are_said_to_be_worse():
    rows = board(make_job(3, "ets", 0, name="bad", metrics=scores(-0.1, se=0.01, p=0.001)))

    assert sentences(rows) == ["No model beats naive (n = 101 independent weeks). Worse than naive, beyond luck: bad."]


@pytest.mark.parametrize(
    ("metrics", "words"),
    [
        (scores(0.5, rows=20, p=0.001), "Too little to tell any model apart from naive: n = 4 independent weeks, 6 are needed."),
        (scores(0.5), "Whether a model is told apart from naive is not known: these runs were scored without an interval."),
    ],
)  # fmt: skip
def test_what_is_not_known_is_said_to_be_unknown(metrics, words):
    assert sentences(board(make_job(1, "ets", 0, metrics=metrics))) == [words]


def test_models_that_say_less_than_their_name_are_named():
    drift = {**scores(0.01, p=0.5), "verdicts": [{"name": "equals drift", "level": "warn", "evidence": "always up"}]}
    flat = [{"name": "constant forecast", "level": "warn", "evidence": "no change"}]
    rows = board(
        make_job(1, "lightgbm_dart", 0, name="up", metrics={**drift, "best_round": 1}),
        make_job(2, "feed_forward", 0, name="net", metrics={**scores(0.0, p=None), "shrinkage": 0.0, "verdicts": flat}),
        make_job(3, "ets", 0, name="flat", metrics={**scores(0.0), "shrinkage": 1.0, "verdicts": flat}),
    )

    assert sentences(rows)[1:] == [
        "Equals drift (always the same direction): up.",
        "The same forecast every day: flat.",
        "Best round 1 (no later round was better on validation): up.",
        "Shrunk to naive's forecast (no skill on validation): net.",
    ]


def test_the_best_of_many_is_measured_against_the_best_of_luck():
    """Drift was tried as well: the best lead may be its own."""
    models = ("ets", "auto_arima", "drift", "naive")
    rows = board(*(make_job(n, model, 0, metrics=scores(0.08 / n, p=0.2)) for n, model in enumerate(models, start=1)))

    assert sentences(rows, Comparison(superior_p=0.43))[-1] == (
        "Luck alone gives the best of 3 models such a lead over naive in 43 % of cases "
        "(test for superior predictive ability)."
    )


def test_a_vetoed_run_says_how_to_accept_it():
    rows = board(make_job(7, "ets", 0.5, name="leak", state=JobState.VETOED, veto="skill +0.50 is beyond belief"))

    assert sentences(rows) == ["No model of this board is ranked yet."]
    (said,) = unranked(rows)
    assert said.startswith("Vetoed, not ranked: leak (job 7): skill +0.50 is beyond belief. ")
    assert said.endswith("`cbi-queue accept leak --reason TEXT` ranks it all the same.")


def test_the_heading_names_the_scheme():
    walked = {**scores(0.1), "scheme": "walk_forward"}

    assert heading("1w", board(make_job(1, "ets", 0.1))).startswith("Horizon 1w (holdout): ranked by validation")
    rows = board(make_job(1, "ets", 0, metrics=walked), title="1w walk-forward")
    assert heading("1w walk-forward", rows).startswith("Horizon 1w walk-forward: ranked")


@pytest.mark.parametrize(
    ("skill", "se", "plot"),
    [
        (0.0, 0.02, "  ──●──  "),
        (0.02, 0.02, "   ─┼●── "),
        (0.04, 0.01, "    │─●─ "),
        (-0.04, None, "  ● │    "),
        (9.0, 0.1, "    │   ●"),
    ],
)
def test_the_plot_shows_the_interval_around_zero(skill, se, plot):
    """A column is 0.02 of skill here; what lies beyond the ends is drawn at the end."""
    (row,) = (row for row in board(make_job(1, "ets", 0, metrics=scores(skill, se=se))) if row.model == "ets")

    assert interval_plot(row, 0.08) == plot


def test_one_bad_model_does_not_flatten_the_plots_of_the_others():
    rows = board(*(make_job(n, "ets", 0, name=str(n), metrics=scores(-9.0 if n == 1 else 0.02)) for n in range(1, 6)))

    assert reach(rows) == pytest.approx(0.06)
    assert reach(board(make_job(1, "ets", 0.0))) == 0.0


@pytest.mark.parametrize(
    ("per_year", "horizon", "words"),
    [
        (252.0, "1m", "24 independent months"),
        (None, "1m", "24 independent months"),
        (52.0, "1m", "24 independent periods of 21 weeks"),
        (12.0, "1w", "24 independent periods of 5 months"),
        (365.0, "1w", "24 independent periods of 5 calendar days"),
        (97.4, "1w", "24 independent periods of 5 rows"),
    ],
)
def test_independent_periods_are_named_by_the_spacing_of_the_data(per_year, horizon, words):
    """21 rows of a weekly series are five months, and "independent months" would promise five times the evidence."""
    row = LeaderboardRow(1, 1, "a", "trees", "lightgbm_dart", is_bar=False, horizon=horizon)
    told = independent_words(replace(row, independent=24.2, periods_per_year=per_year))
    assert told == f"n = {words}"
