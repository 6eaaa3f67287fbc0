"""`jobs.evaluation.drift`: PSI by hand and on noise, and a quarantine that takes what moved and gives it back."""

from __future__ import annotations

import numpy as np
import pytest
from support.fakes import ScriptedChannel, make_task

from cbi_queue.protocol import Note
from jobs.data.series import ForecastFrame, label
from jobs.data.standardise import fit_standardiser
from jobs.evaluation.drift import BINS, MOST_SHARE, RECENT_ROWS, drifted, stability, without_drifted
from jobs.evaluation.splits import holdout_split

NAN = np.nan
LIMIT = 0.25


def noise(rows: int, columns: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, columns)).astype(np.float32)


def test_the_index_is_the_one_worked_out_by_hand() -> None:
    """300 rows in the lowest of ten bins against 100 rows in each: shares 300.5/305 and 0.5/305 against a tenth."""
    measured = stability(np.arange(1000.0), np.full(300, 50.0))

    by_hand = (300.5 / 305 - 0.1) * np.log(300.5 / 305 / 0.1) + 9 * (0.5 / 305 - 0.1) * np.log(0.5 / 305 / 0.1)
    assert measured is not None
    assert measured.psi == pytest.approx(by_hand)


def test_without_drift_the_index_is_what_was_expected() -> None:
    """(B - 1)(1/n + 1/m), as Yurdakul and Naranjo have it; the mean over 300 columns is within a tenth."""
    x = noise(4252, 300)
    measured = [stability(column[:-252], column[-252:]) for column in x.T]
    expected = (BINS - 1) * (1 / 4000 + 1 / 252)

    assert np.mean([each.psi for each in measured if each]) == pytest.approx(expected, rel=0.1)
    assert np.mean([each.expected for each in measured if each]) == pytest.approx(expected, rel=0.1)


def test_a_rolling_feature_is_expected_to_differ_every_year() -> None:
    """252 rows of a mean over 126 days are two independent ones: by the textbook every year of it has drifted."""
    rolled = np.apply_along_axis(lambda v: np.convolve(v, np.ones(126) / 126, "valid"), 0, noise(4200, 60))
    measured = [stability(column[:-252], column[-252:]) for column in rolled.T]

    assert np.mean([each.psi > LIMIT for each in measured if each]) > 0.9
    assert np.mean([each.is_above(LIMIT) for each in measured if each]) < 0.05


def test_missing_values_are_a_bin_of_their_own() -> None:
    reference, current = noise(2000, 1)[:, 0], noise(300, 1, seed=1)[:, 0]
    same = stability(reference, current)
    current[:100] = NAN
    gone = stability(reference, current)

    assert same is not None
    assert gone is not None
    assert gone.psi > 1 > LIMIT > same.psi


@pytest.mark.parametrize("new", [-1.0, 2.0])
def test_values_beyond_every_earlier_one_are_seen_in_a_column_of_few_values(new: float) -> None:
    """A flag's lowest bin holds its zeros; a value below them is something else."""
    flag = (noise(2000, 1)[:, 0] > 1).astype(np.float32)
    measured = stability(flag, np.full(300, new))
    assert measured is not None
    assert measured.is_above(1.0)


@pytest.mark.parametrize(("n", "m"), [(RECENT_ROWS - 1, 1000), (1000, RECENT_ROWS - 1)])
def test_too_few_rows_say_nothing(n: int, m: int) -> None:
    assert stability(np.arange(float(n)), np.zeros(m)) is None
    assert stability(np.full(1000, NAN), np.zeros(1000)) is None


def test_a_column_that_moved_is_taken_and_noise_is_not() -> None:
    x = noise(3000, 40)
    x[-RECENT_ROWS:, 7] += 1.5
    assert drifted(x, LIMIT).tolist() == [7]


def test_a_column_returns_once_the_move_belongs_to_its_past() -> None:
    """A level that shifted for good is strange for about a year; three years later it is one of two that were seen."""
    x = noise(3000, 8)
    x[2000:, 3] += 1.5

    assert drifted(x[:2260], LIMIT).tolist() == [3]
    assert drifted(x[:3000], LIMIT).tolist() == []


def test_a_series_that_starts_late_is_judged_by_its_own_rows() -> None:
    x = noise(3000, 8)
    x[:2000, 2] = NAN
    x[:2700, 5] = NAN  # fewer than a year before the last one: nothing can be said
    assert drifted(x, LIMIT).tolist() == []


def test_no_more_than_a_quarter_of_the_columns_are_taken_those_that_moved_most() -> None:
    x = noise(3000, 16)
    for column in range(16):
        x[-RECENT_ROWS:, column] += 1 + column / 8
    assert drifted(x, LIMIT).tolist() == [12, 13, 14, 15]
    assert len(drifted(x, LIMIT)) == MOST_SHARE * 16


@pytest.fixture
def frame() -> ForecastFrame:
    x = noise(3000, 8)
    x[1400:, 3] += 1.5
    price = 50 * np.exp(np.cumsum(noise(3000, 1, seed=9)[:, 0] * 0.01)).astype(np.float64)
    names = tuple(f"f{number}" for number in range(8))
    dates = np.datetime64("2000-01-03") + np.arange(3000)
    return ForecastFrame(dates, price, x, label(price, 5), names, horizon_days=5, source_sha256="0" * 64)


def task_with(tmp_path, **params):
    spec = {"family": "trees", "model": "lightgbm_dart", "horizon": "1w", "params": params}
    return make_task(tmp_path / "run", spec, tmp_path, tmp_path, ScriptedChannel())


def test_a_fit_sees_a_column_in_quarantine_as_missing_on_every_row_and_says_which(tmp_path, frame) -> None:
    task, split = task_with(tmp_path, quarantine_psi=LIMIT), holdout_split(frame, 660, 660, 5)

    seen = without_drifted(task, frame, split)

    assert seen.quarantined == ("f3",)
    assert np.isnan(seen.x[:, 3]).all()
    assert np.array_equal(np.delete(seen.x, 3, axis=1), np.delete(frame.x, 3, axis=1))
    assert np.isfinite(frame.x).all(), "the next fit judges the column anew"
    (note,) = [report.text for report in task.channel.reports if isinstance(report, Note)]
    assert "1 of 8 features are in quarantine for this fit" in note
    assert "f3" in note
    fitted = fit_standardiser(seen.x[split.train], seen.y[split.train])
    assert (fitted.scale[3], fitted.groups) == (0, ()), "a net leaves it out, without an indicator"


def test_without_a_limit_nothing_is_taken(tmp_path, frame) -> None:
    assert without_drifted(task_with(tmp_path), frame, holdout_split(frame, 660, 660, 5)) is frame
