"""Pace, probe and micro-batch on real pipes: obeyed at the safe point, and never in the way of a pause or a stop."""

from __future__ import annotations

import fcntl
import sys
import termios
import threading
import time

import pytest
from support.channel_pipes import Line, train
from support.waiting import until

from cbi_queue.protocol import Begin, Note, Pace, Pause, Paused, Probe, Probed, Resume, Resumed, SetMicroBatch, Stop
from jobs.process.channel import LEAST_DUTY

HOUR_S = 3600.0
PROBED = Probed("cpu", "counting-1", 0.1, 0.1, 0.5)


@pytest.fixture
def line():
    """A line between slot and trainer."""
    opened = Line()
    yield opened
    opened.close()


def obeyed(line, *directives):
    """Order, and wait until the listener has taken all of it in."""
    before = line.channel._orders
    line.order(*directives)
    until(lambda: line.channel._orders == before + len(directives), "the orders have come")


def has_worked(line, seconds):
    """As if the last safe point lay so far back."""
    line.channel.safe_point(0)
    since_s, suspended_s = line.channel._idle._works_since
    line.channel._idle._works_since = since_s - seconds, suspended_s


def rests(line):
    """Wait until the trainer of *line* waits."""
    until(lambda: line.channel._idle._waiting_since_s is not None, "it rests")


def waiting_bytes(descriptor):
    """Bytes that were written to a pipe and not read."""
    return int.from_bytes(fcntl.ioctl(descriptor, termios.FIONREAD, bytes(4)), sys.byteorder)


def work(seconds):
    """Keep busy."""
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        pass


def test_a_paced_trainer_rests_in_proportion_to_its_work(line):
    """Duty 1/5: four parts of rest to one of work."""
    line.channel.safe_point(0)
    obeyed(line, Pace(0.2))

    work(0.02)
    line.channel.safe_point(1)

    assert line.channel.paused_s >= 4 * 0.02
    assert not line.channel.take_was_paused(), "rest is no work, so the epoch's time is a baseline as ever"


def test_a_pace_begins_with_the_work_after_the_first_safe_point(line):
    """Nobody knows what came before, and a rest for it could be a minute."""
    obeyed(line, Pace(LEAST_DUTY))

    line.channel.safe_point(0)

    assert line.channel.paused_s == 0.0


def test_full_speed_is_no_pace(line):
    has_worked(line, HOUR_S)
    obeyed(line, Pace(1.0))

    line.channel.safe_point(1)

    assert line.channel.paused_s == 0.0


def test_a_rest_ends_when_full_speed_is_ordered(line):
    has_worked(line, HOUR_S)
    obeyed(line, Pace(0.01))
    thread, story = train(line, [1, 2])
    rests(line)

    line.order(Pace(1.0))

    thread.join(30)
    assert story == [1, 2]


@pytest.mark.parametrize("end", ["stop", "hang-up", "signal"])
def test_a_rest_ends_when_the_trainer_is_to_leave(line, end):
    """A minute of rest would outlast the grace time, and the checkpoint would be lost."""
    has_worked(line, HOUR_S)
    obeyed(line, Pace(LEAST_DUTY))
    thread, story = train(line, [1])
    rests(line)

    {"stop": lambda: line.order(Stop()), "hang-up": line.hang_up, "signal": line.channel.stop}[end]()

    thread.join(30)
    assert story == ["stopped"]


def test_a_pause_in_a_rest_is_obeyed_at_once_and_gives_memory_back(line):
    freed = []
    line.channel.on_pause = lambda: freed.append("caches")
    has_worked(line, HOUR_S)
    obeyed(line, Pace(LEAST_DUTY))
    thread, story = train(line, [1])
    rests(line)
    assert freed == [], "a rest is no pause"

    line.order(Pause())
    assert line.next_report() == Paused(1)
    assert story == []
    line.order(Pace(1.0), Resume())
    assert line.next_report() == Resumed(1)

    thread.join(30)
    assert story == [1]
    assert freed == ["caches"]


def test_a_long_pause_is_rest_enough(line, monkeypatch):
    """After a pause of an hour a paced trainer does not rest once more for the work before it."""
    monkeypatch.setattr("jobs.process.channel.LONGEST_REST_S", 0.05)
    rested = []
    monkeypatch.setattr(line.channel, "_rest", lambda rest_s, _orders: rested.append(rest_s))
    has_worked(line, HOUR_S)
    obeyed(line, Pace(0.5), Pause())
    thread, story = train(line, [1])
    assert line.next_report() == Paused(1)
    long_enough_s = time.monotonic() + 0.05
    until(lambda: time.monotonic() > long_enough_s, "the pause is as long as the rest would have been")

    line.order(Resume())

    thread.join(30)
    assert story == [1]
    assert rested == []


def test_time_that_the_kernel_kept_the_trainer_stopped_needs_no_rest(line):
    has_worked(line, HOUR_S)
    obeyed(line, Pace(LEAST_DUTY), Pause(), Resume(suspended_s=2 * HOUR_S))

    thread, story = train(line, [1])

    thread.join(30)
    assert story == [1]


@pytest.mark.parametrize("duty", [0.0, -1.0, 1e-300])
def test_an_impossible_pace_is_the_slowest_one(line, duty):
    line.channel.safe_point(0)
    obeyed(line, Pace(duty))

    work(0.005)
    line.channel.safe_point(1)

    assert line.channel.paused_s >= 0.005 * (1 / LEAST_DUTY - 1)


def test_a_paused_trainer_is_paused_again_when_the_next_order_says_so(line):
    """Pause, resume and pause may come faster than the trainer wakes."""
    obeyed(line, Pause())
    thread, story = train(line, [5])
    assert line.next_report() == Paused(5)

    line.order(Resume())
    assert line.next_report() == Resumed(5)
    line.order(Pause(), Resume(), Pause(), Resume())

    thread.join(30)
    assert story == [5]


def test_the_probe_runs_at_the_next_safe_point_and_its_epoch_is_no_baseline(line):
    line.channel.probe = lambda: PROBED
    line.channel.safe_point(1)
    obeyed(line, Probe(), Probe())

    line.channel.safe_point(2)
    line.channel.report(Note("on"))

    assert line.next_report() == PROBED
    assert line.next_report() == Note("on"), "two requests before one safe point are one"
    assert line.channel.paused_s > 0.0
    assert line.channel.take_was_paused()


def test_a_resting_trainer_probes_at_once(line):
    """The governor waits for the answer before it takes a step."""
    line.channel.probe = lambda: PROBED
    has_worked(line, HOUR_S)
    obeyed(line, Pace(LEAST_DUTY))
    thread, story = train(line, [1])
    rests(line)

    line.order(Probe())

    assert line.next_report() == PROBED
    assert story == [], "the rest continues"
    line.order(Pace(1.0))
    thread.join(30)


def test_a_paused_trainer_probes_only_when_it_goes_on(line):
    """A pause is there to give the machine rest."""
    line.channel.probe = lambda: PROBED
    obeyed(line, Pause(), Probe())
    thread, _story = train(line, [1])
    assert line.next_report() == Paused(1)

    line.order(Resume())

    assert line.next_report() == Resumed(1)
    assert line.next_report() == PROBED
    thread.join(30)


def test_a_trainer_that_leaves_does_not_probe_first(line):
    line.channel.probe = lambda: PROBED
    obeyed(line, Probe(), Stop())
    until(lambda: line.channel.is_stopping, "the stop has come")

    thread, story = train(line, [1])
    thread.join(30)
    line.channel.report(Note("end"))

    assert story == ["stopped"]
    assert line.next_report() == Note("end")


def test_a_trainer_without_a_probe_goes_on(line):
    obeyed(line, Probe())

    line.channel.safe_point(1)
    line.channel.report(Note("on"))

    assert line.next_report() == Note("on")


def test_a_probe_that_fails_is_told_and_left_out_and_costs_no_training(line):
    """An hour of training must not end because a measurement of half a second ran out of memory."""

    def fails():
        raise MemoryError("no room for the probe")

    line.channel.probe = fails
    obeyed(line, Probe())
    line.channel.safe_point(1)

    told = line.next_report()
    assert isinstance(told, Note)
    assert "no room for the probe" in told.text
    obeyed(line, Probe())
    line.channel.safe_point(2)
    line.channel.report(Note("on"))
    assert line.next_report() == Note("on")


def test_a_micro_batch_is_there_for_the_family_to_take(line):
    assert line.channel.wanted_micro_batch is None

    obeyed(line, SetMicroBatch(16), SetMicroBatch(0))

    assert line.channel.wanted_micro_batch == 1, "nothing can be trained with less"


@pytest.mark.parametrize("waits", ["paused", "resting", "unassigned"])
def test_a_signal_between_the_check_and_the_wait_is_not_missed(line, waits):
    """A handler runs in the very thread that is about to wait: it wakes no thread, so the wait itself must check again."""
    wait = line.channel._changed.wait

    def signalled(timeout=None):
        line.channel._changed.wait = wait
        line.channel.stop() if waits != "unassigned" else setattr(line.channel, "_begin", begin)
        return wait(timeout)

    begin = Begin(None)
    has_worked(line, HOUR_S)
    obeyed(line, {"paused": Pause(), "resting": Pace(LEAST_DUTY), "unassigned": Probe()}[waits])
    line.channel._changed.wait = signalled

    if waits == "unassigned":
        assert line.channel.wait_begin() is begin
        return
    thread, story = train(line, [1])
    thread.join(30)
    assert story == ["stopped"]


def test_a_slot_that_does_not_read_cannot_make_the_trainer_deaf(line):
    """The pipe of reports is full, the thread that reports is stuck in it; the stop must come through all the same."""
    thread = threading.Thread(target=lambda: [line.channel.report(Note("x" * 50_000)) for _ in range(8)])
    thread.start()
    until(lambda: waiting_bytes(line.up) > 60_000, "the pipe of reports is full")

    line.order(Stop())
    until(lambda: line.channel.is_stopping, "the stop has come")

    for _ in range(8):
        line.next_report()
    thread.join(30)
    assert not thread.is_alive()
