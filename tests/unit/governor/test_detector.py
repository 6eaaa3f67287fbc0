"""The detector: slow work is distinguished from spikes, bursts, warm-up, other batches and sleep."""

from __future__ import annotations

import math
import random
from itertools import pairwise

import pytest

from cbi_queue.governor.slowdown.detector import Detector
from cbi_queue.governor.values import Baseline, Work

SAMPLES = 1000


class Run:
    """A run that reports to a detector, epoch by epoch, with a scatter of one percent."""

    def __init__(self, baselines=None, *, epoch_s=0.1, micro_batch=32, scatter=0.01):
        self.detector = Detector(baselines)
        self.epoch, self.at_s = 0, 1000.0
        self.epoch_s, self.micro_batch, self.scatter = epoch_s, micro_batch, scatter
        self.chance = random.Random(5)
        self.alarms = []

    def go(self, epochs, factor=1.0, samples=SAMPLES, **more):
        """Report *epochs* epochs that are *factor* times as slow as cold; return the slow-down in force after them."""
        for _ in range(epochs):
            wall_s = self.epoch_s * factor * samples / SAMPLES * math.exp(self.chance.gauss(0.0, self.scatter))
            self.at_s += wall_s
            before = self.detector.current
            found = self.detector.observe(Work(self.epoch, self.at_s, wall_s, samples, self.micro_batch, **more))
            if found is not None and before is None:
                self.alarms.append(found)
            self.epoch += 1
        return self.detector.current


def cold(epoch_s=0.1, reports=100):
    return Baseline(epoch_s / SAMPLES, 0.01, reports)


def test_quiet_work_raises_no_alarm():
    run = Run(scatter=0.03)
    assert run.go(2000) is None
    assert run.alarms == []


@pytest.mark.parametrize(("factor", "within"), [(1.2, 16), (1.5, 6), (2.5, 4)])
def test_a_lasting_slowdown_is_found_with_its_beginning_and_factor(factor, within):
    """The user reads these figures: since which epoch, and how slow."""
    run = Run()
    run.go(60)

    found = run.go(50, factor)

    assert run.alarms[0].detected_epoch - 60 < within
    assert found.since_epoch == 60
    assert found.factor == pytest.approx(factor, rel=0.03)
    assert found.since_s == pytest.approx(1000.0 + 6.0, abs=0.3)


def test_long_epochs_alarm_at_the_third_slow_one():
    """Half-hour epochs leave no time for more."""
    run = Run(epoch_s=1800.0)
    run.go(10)
    run.go(3, 1.4)
    assert [alarm.detected_epoch for alarm in run.alarms] == [12]


def test_epochs_of_milliseconds_alarm_within_a_second():
    run = Run(epoch_s=0.004, scatter=0.2)
    run.go(1500)
    begun_s = run.at_s
    while run.detector.current is None and run.at_s - begun_s < 5.0:
        run.go(1, 1.6)
    assert run.at_s - begun_s <= 1.0


def test_a_slowdown_ends_when_the_work_is_quiet_again():
    run = Run()
    run.go(60)
    run.go(30, 1.6)

    assert run.go(10) is None
    ended = run.detector.last_ended
    assert (ended.since_epoch, ended.ended_epoch) == (60, 89)
    assert ended.factor == pytest.approx(1.6, rel=0.05)


def test_a_slowdown_ends_at_the_bin_that_completes_the_votes_for_quiet():
    """Bins well below the floor have a whole vote each. One bin is an epoch here: half an hour of a slow rung a bin."""
    run = Run(epoch_s=1800.0, scatter=0.0)
    run.go(10)
    run.go(10, 1.6)
    votes = int(run.detector._set.quiet_votes)
    assert votes == run.detector._set.quiet_votes

    assert run.go(votes - 1) is not None
    assert run.go(1) is None
    assert run.detector.last_ended.ended_epoch == 19


def test_a_second_slowdown_is_an_alarm_of_its_own():
    run = Run()
    for _ in range(2):
        run.go(60)
        run.go(30, 1.6)
    assert [alarm.since_epoch for alarm in run.alarms] == [60, 150]


@pytest.mark.parametrize("stop_factor", [1.4, 5.0, 200.0])
@pytest.mark.parametrize("length", [1, 2])
def test_a_spike_of_one_or_two_epochs_is_no_slowdown(stop_factor, length):
    """A stop of twenty seconds is recognised by its length, not by its height."""
    run = Run()
    run.go(60)
    for _ in range(5):
        run.go(length, stop_factor)
        run.go(20)
    assert run.alarms == []


@pytest.mark.parametrize("length", [1, 2])
def test_a_spike_of_long_epochs_is_no_slowdown(length):
    """Here every report is long and costly enough: only its votes, clipped, tell a spike from a slow-down."""
    run = Run(epoch_s=60.0)
    run.go(30)
    for _ in range(5):
        run.go(length, 50.0)
        run.go(20)
    assert run.alarms == []


def test_a_tall_spike_cannot_pay_for_a_mild_stretch():
    run = Run()
    run.go(60)
    run.go(1, 200.0)
    run.go(4, 1.22)
    run.go(10)
    assert run.alarms == []


def test_a_burst_of_half_a_second_is_no_slowdown():
    """Other programs come and go, and take now more, now less: four slow epochs of a tenth of a second are theirs."""
    run = Run()
    run.go(60)
    for factor in (1.4, 1.8, 1.5, 1.7):
        run.go(1, factor)
    run.go(20)
    run.go(3, 1.6)
    run.go(20)
    assert run.alarms == []


@pytest.mark.parametrize("factor", [1.35, 1.5, 2.0])
def test_slow_work_that_holds_its_speed_is_found_at_the_fourth_epoch(factor):
    """A chip that slows itself is as slow in each epoch; epochs of other cost need longer to be believed."""
    steady, varying = Run(), Run()
    steady.go(60)
    steady.go(4, factor)
    varying.go(60)
    for turn in (0.93, 1.07, 0.93, 1.07):
        varying.go(1, factor * turn)
    assert [alarm.detected_epoch for alarm in steady.alarms] == [63]
    assert len(varying.alarms) == (factor > 1.6)  # more than 0.7 s and lost enough, steady or not


def test_steady_bursts_of_milliseconds_are_no_slowdown():
    """Four bins of short epochs are a fifth of a second: too short to be anything but another program."""
    run = Run(epoch_s=0.01)
    run.go(300)
    run.go(22, 1.5)
    run.go(100)
    assert run.alarms == []


def test_contention_that_flickers_is_one_slowdown():
    run = Run()
    run.go(60)
    for _ in range(20):
        run.go(2, 1.9)
        run.go(1)
    assert len(run.alarms) == 1
    assert run.detector.current is not None


def test_a_validation_epoch_now_and_then_is_no_slowdown():
    run = Run(epoch_s=2.0)
    for _ in range(40):
        run.go(4)
        run.go(1, 1.5)
    assert run.alarms == []


def test_the_first_report_is_left_out():
    """Compilation and first touches of memory make it several times as long."""
    run = Run()
    run.go(1, 40.0)
    run.go(3)
    assert run.detector.cold_level() == pytest.approx(0.1 / SAMPLES, rel=0.05)


def test_disturbed_reports_count_neither_as_slow_nor_as_cold():
    run = Run({32: cold()})
    run.go(3)
    for factor in (5.0, 0.1):
        assert run.go(40, factor, disturbed=True) is None
    assert run.detector.cold_level() == pytest.approx(0.1 / SAMPLES, rel=0.05)


def test_reports_after_sleep_do_not_count():
    run = Run()
    run.go(60)
    assert run.go(10, 3.0, gap_s=60.0) is None


@pytest.mark.parametrize(("wall_s", "samples"), [(0.0, 10), (-1.0, 10), (math.nan, 10), (math.inf, 10), (1.0, 0)])
def test_garbage_is_not_counted(wall_s, samples):
    run = Run({32: cold()})
    run.go(20, 2.0)
    before = run.detector.current
    for _ in range(20):
        assert run.detector.observe(Work(run.epoch, run.at_s, wall_s, samples, 32)) == before


def test_a_run_that_starts_hot_is_seen_against_the_stored_baseline():
    run = Run({32: cold()})
    found = run.go(8, 1.5)
    assert found.since_epoch <= 1
    assert found.factor == pytest.approx(1.5, rel=0.05)


def test_a_hot_start_without_a_baseline_is_found_in_hindsight():
    run = Run()
    run.go(40, 1.6)
    assert run.alarms == []

    run.go(8)

    told = run.detector.last_ended
    assert (told.since_epoch, told.ended_epoch) == (0, 39)
    assert told.factor == pytest.approx(1.6, rel=0.1)
    assert 40 <= told.detected_epoch <= 45
    assert run.detector.cold_level() == pytest.approx(0.1 / SAMPLES, rel=0.05)


def test_a_bigger_epoch_is_no_slowdown():
    run = Run()
    run.go(60)
    assert run.go(30, samples=5 * SAMPLES) is None


def test_a_smaller_micro_batch_may_cost_more():
    """A downgrade doubles the cost of a sample legitimately, at most."""
    run = Run()
    run.go(60)
    run.micro_batch = 16
    assert run.go(30, 1.9) is None
    assert run.go(15, 1.9 * 1.5).factor == pytest.approx(1.5, rel=0.05)


def test_a_larger_micro_batch_that_costs_more_is_slow():
    """It cannot cost more than the smaller one did: the slow-down began with the change."""
    run = Run()
    run.go(60)
    run.micro_batch = 64
    assert run.go(20, 1.6) is not None


def test_a_slowdown_goes_on_through_a_change_of_micro_batch():
    """What was known before the change must not be lost with it, or a step of the ladder would hide its own cause."""
    run = Run()
    run.go(60)
    run.go(30, 2.0)
    run.micro_batch = 16

    found = run.go(20, 2.0 * 1.3)

    assert found.since_epoch == 60
    assert run.go(12, 1.3) is None
    assert run.detector.last_ended.ended_epoch == 109


def test_heat_that_creeps_up_is_seen():
    """Half a percent a minute must not become the new normal one report at a time."""
    run = Run()
    run.go(200)
    for step in range(1000):
        run.go(1, 1.0 + 0.4 * step / 1000)
    assert run.alarms
    assert run.alarms[0].factor < 1.25


def test_confidence_grows_with_evidence():
    run = Run()
    run.go(60)
    told = [run.go(1, 1.4) for _ in range(30)]
    confidences = [found.confidence for found in told if found is not None]
    assert 0.4 < confidences[0] < confidences[-1] <= 1.0
    assert all(earlier <= later + 1e-9 for earlier, later in pairwise(confidences))


def test_bursts_of_the_machine_teach_patience_but_not_deafness():
    """A burst that comes again and again is alarmed less readily; a lasting slow-down still is."""
    alone, taught = Run(), Run()
    alone.go(60)
    taught.go(60)
    for _ in range(4):
        for factor in (1.3, 1.6, 1.35, 1.55):
            taught.go(1, factor)
        taught.go(15)
    delays = []
    for run in (alone, taught):
        begun = run.epoch
        for turn in (0.93, 1.07) * 20:
            run.go(1, 1.4 * turn)
        delays.append(run.alarms[-1].detected_epoch - begun)
    assert taught.alarms[-1].since_epoch == 136
    assert delays[0] < delays[1] <= 10


def test_a_hot_run_is_never_learned_as_cold():
    run = Run({32: cold()})
    run.go(300, 1.5)
    assert run.detector.learned() == {32: cold()}


def test_a_quiet_run_moves_the_baseline_down_at_once_and_up_slowly():
    faster, slower = Run({32: cold()}), Run({32: cold()})
    faster.go(100, 0.92)
    slower.go(100, 1.08)
    assert faster.detector.learned()[32].seconds_per_sample == pytest.approx(0.92 * 0.1 / SAMPLES, rel=0.01)
    assert slower.detector.learned()[32].seconds_per_sample == pytest.approx(1.02 * 0.1 / SAMPLES, rel=0.001)


def test_a_first_run_teaches_its_quiet_level_with_processor_time():
    run = Run()
    run.go(100, cpu_s=0.09)
    learned = run.detector.learned()[32]
    assert learned.seconds_per_sample == pytest.approx(0.1 / SAMPLES, rel=0.01)
    assert learned.cpu_per_sample == pytest.approx(0.09 / SAMPLES)
    assert learned.spread == pytest.approx(0.01, rel=0.6)


def test_too_short_a_run_teaches_nothing():
    run = Run()
    run.go(10)
    assert run.detector.learned() == {}


def test_models_without_batches_have_a_baseline_of_their_own():
    run = Run({None: cold()}, micro_batch=None)
    assert run.go(10, 1.6) is not None
