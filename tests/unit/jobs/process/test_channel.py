"""The trainer's end of the protocol, on real pipes: it pauses, resumes, stops, and exits when the daemon is gone."""

from __future__ import annotations

import os
import threading

import pytest
from support.channel_pipes import Line, train
from support.ledger_rows import python
from support.waiting import until

from cbi_queue.errors import ProtocolError
from cbi_queue.protocol import (
    Assignment,
    Begin,
    EpochReport,
    ExitCode,
    Note,
    Pause,
    Paused,
    Resume,
    Resumed,
    Stop,
    encode,
)
from jobs.process.channel import StopRequested

BEGIN = Begin(Assignment(1, 1, "ledger", "identity", {}, "/run", "/exports", "/processed"))


@pytest.fixture
def line():
    """A line between slot and trainer."""
    opened = Line()
    yield opened
    opened.close()


def test_reports_come_up_in_order_whole_and_from_any_thread(line):
    threads = [
        threading.Thread(target=lambda n=n: [line.channel.report(Note(f"{n}:{i}:{'x' * 500}")) for i in range(50)])
        for n in range(4)
    ]
    for thread in threads:
        thread.start()

    seen = [line.next_report().text.split(":") for _ in range(200)]

    for thread in threads:
        thread.join()
    for number in range(4):
        assert [int(i) for n, i, _ in seen if int(n) == number] == list(range(50))


def test_without_an_order_a_safe_point_is_passed_at_once(line):
    line.channel.safe_point(3)

    assert not line.channel.is_stopping
    assert line.channel.paused_s == 0.0
    assert not line.channel.take_was_paused()


def test_the_work_waits_for_its_assignment(line):
    got = []
    thread = threading.Thread(target=lambda: got.append(line.channel.wait_begin()))
    thread.start()
    assert got == []

    line.order(BEGIN)

    thread.join(60)
    assert got == [BEGIN]


def test_a_daemon_that_dies_before_the_assignment_leaves_nothing_to_do(line):
    line.hang_up()

    assert line.channel.wait_begin() is None


def test_a_paused_trainer_stands_still_says_so_and_goes_on_when_told(line):
    line.order(Pause())
    until(lambda: line.channel._paused, "the pause has come")

    thread, story = train(line, [5, 6])
    assert line.next_report() == Paused(5)
    assert story == []

    line.order(Resume())
    assert line.next_report() == Resumed(5)
    thread.join(60)
    assert story == [5, 6]
    assert line.channel.paused_s > 0.0
    assert line.channel.take_was_paused(), "the epoch that a pause fell into is no baseline"
    assert not line.channel.take_was_paused()


def test_a_pause_taken_back_before_the_safe_point_is_not_obeyed(line):
    line.order(Pause(), Resume(), BEGIN)
    line.channel.wait_begin()

    line.channel.safe_point(1)
    line.channel.report(Note("moving"))

    assert line.next_report() == Note("moving")


def test_time_that_the_kernel_kept_the_trainer_stopped_is_no_working_time(line):
    """A stopped process cannot see the pause; two hours of it must not look like a slow epoch."""
    line.order(Pause(), Resume(suspended_s=7200.0), BEGIN)
    line.channel.wait_begin()

    assert line.channel.paused_s == 7200.0
    assert line.channel.take_was_paused()


def test_a_stop_ends_the_work_at_the_next_safe_point_and_every_one_after(line):
    line.order(Stop())
    until(lambda: line.channel.is_stopping, "the stop has come")

    for epoch in (1, 2):
        with pytest.raises(StopRequested):
            line.channel.safe_point(epoch)


@pytest.mark.parametrize("end", ["stop", "hang-up", "signal"])
def test_a_paused_trainer_leaves_when_stopped_or_orphaned(line, end):
    """An orphan that stays paused would hold the slot for ever."""
    line.order(Pause())
    until(lambda: line.channel._paused, "the pause has come")
    thread, story = train(line, [5])
    assert line.next_report() == Paused(5)

    {"stop": lambda: line.order(Stop()), "hang-up": line.hang_up, "signal": line.channel.stop}[end]()

    thread.join(60)
    assert story == ["stopped"]
    line.channel.report(Note("next"))
    assert line.next_report() == Note("next"), "it did not report that it resumed"


def test_a_daemon_that_dies_is_a_stop_and_no_error_for_reports(line):
    line.hang_up()
    line.reports.close()
    until(lambda: line.channel.is_stopping, "the hang-up has been seen")

    for epoch in range(3):
        line.channel.report(EpochReport(epoch, 3, 0.1))
    with pytest.raises(StopRequested):
        line.channel.safe_point(3)


def test_a_line_that_is_not_ours_is_ignored_and_the_next_one_obeyed(line, capfd):
    line.order(b"garbage\n", b'{"v":9,"type":"stop"}\n', b'{"v":1,"type":[]}\n', b"\n", b"[" * 20_000 + b"\n", BEGIN)

    assert line.channel.wait_begin() == BEGIN
    assert not line.channel.is_stopping
    assert capfd.readouterr().out.count("ignored a line from the slot") == 5


def test_orders_are_understood_however_the_pipe_cuts_them(line):
    for byte in encode(BEGIN) + encode(Stop()):
        line.order(bytes([byte]))

    assert line.channel.wait_begin() == BEGIN
    until(lambda: line.channel.is_stopping, "the stop has come")


def test_a_last_order_cut_off_by_the_daemons_death_is_not_obeyed(line):
    line.order(encode(BEGIN)[:-20])
    line.hang_up()

    assert line.channel.wait_begin() is None


def test_a_report_with_a_number_that_is_none_is_refused_here(line):
    with pytest.raises(ProtocolError):
        line.channel.report(EpochReport(1, 2, float("nan")))

    line.channel.report(Note("still there"))
    assert line.next_report() == Note("still there")


STUBBORN = """
import os, sys, threading
from jobs.process.channel import Channel
channel = Channel(os.fdopen(2, "wb"), os.fdopen(0, "rb", buffering=0, closefd=False))
channel.listen()
if sys.argv[1] == "early":
    channel.stop()
channel.exit_hard_after(0.3)
print("working", flush=True)
threading.Event().wait()
"""


@pytest.mark.parametrize("end", ["stop", "hang-up", "early"])
def test_a_trainer_that_reaches_no_safe_point_ends_itself_when_its_grace_is_over(end):
    """A one-shot fit of an hour must not hold the slot of a dead daemon for an hour."""
    child = python(STUBBORN, end)
    assert child.stdout.readline() == "working\n"
    if end == "stop":
        child.stdin.write(encode(Stop()).decode())
        child.stdin.flush()
        child.wait(60)
    child.communicate(timeout=60)

    assert child.returncode == ExitCode.STOPPED


FULL_LOG = """
import os, sys
from jobs.process.channel import Channel
channel = Channel(os.fdopen(2, "wb"), os.fdopen(0, "rb", buffering=0, closefd=False))
full = os.open("/dev/full", os.O_WRONLY)
out = os.dup(1)
os.dup2(full, 1)
channel.listen()
begin = channel.wait_begin()
os.write(out, b"began" if begin else b"hung up")
os._exit(0)
"""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full, a Linux device")  # noqa: PTH110
def test_a_log_on_a_full_disk_does_not_make_the_trainer_deaf():
    child = python(FULL_LOG)

    out, err = child.communicate(f"garbage\n{encode(BEGIN).decode()}", timeout=60)

    assert out == "began", err
