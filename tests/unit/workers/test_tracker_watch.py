"""When the daemon starts a tracker: after runs have ended, not under strain, and ever later when trackers fail."""

from __future__ import annotations

import itertools

# ruff: noqa: D102 - Popen's own methods
import subprocess
from types import SimpleNamespace

import pytest
from support.fakes import FakeClock
from support.ledger_rows import add_in

from cbi_queue import clock
from cbi_queue.ledger import Ledger
from cbi_queue.ledger.settlement import finish
from cbi_queue.lifecycle import JobState
from workers import side_process, tracking
from workers.side_process import MOST_WAIT_S
from workers.tracking import GATHER_S, MOST_S, TrackerWatch

GATHERED_S = 600.0


class Child:
    """A tracker that ends when the test says so."""

    def __init__(self):
        self.returncode, self.signals, self.is_stuck = None, [], False

    def poll(self):
        return self.returncode

    def terminate(self):
        self.signals.append("TERM")

    def kill(self):
        self.signals.append("KILL")

    def wait(self, timeout):
        if (self.is_stuck or "KILL" not in self.signals) and self.returncode is None:
            raise subprocess.TimeoutExpired("tracker", timeout)
        self.returncode = -9 if self.returncode is None else self.returncode


class Bench:
    """A watch with its clock, its governor and the trackers that it started."""

    def __init__(self, monkeypatch, path, setting="on", installed=True):
        self.now, self.children, self.commands = FakeClock(1000.0), [], []
        monkeypatch.setattr(clock, "monotonic_s", self.now)
        monkeypatch.setattr(tracking, "is_installed", lambda: installed)
        monkeypatch.setattr(side_process.subprocess, "Popen", self._start)
        self.governor = SimpleNamespace(
            acts=True, state=SimpleNamespace(duty=1.0, hold=None), why_not_start=lambda: self.why_not
        )
        self.why_not = None
        self.watch = TrackerWatch(SimpleNamespace(tracking=setting, tracking_gather_s=GATHERED_S), self.governor)
        self.ledger = Ledger.open(path)

    def _start(self, command, **keys):
        assert keys["process_group"] == 0
        self.commands.append(command)
        self.children.append(Child())
        return self.children[-1]

    def after(self, seconds):
        """Look again after so many seconds; return how many trackers were started in all."""
        self.now.advance(seconds)
        self.watch.check(self.ledger)
        return len(self.children)

    def ends(self, code):
        self.children[-1].returncode = code


@pytest.fixture
def bench(monkeypatch, tmp_path, new_ledger):
    """A watch on a ledger with one run that has ended."""
    made = Bench(monkeypatch, copied(new_ledger, tmp_path))
    add_in(made.ledger, JobState.SUCCEEDED, "first")
    made.after(0)  # the slot is idle when it was empty at two looks
    yield made
    made.ledger.close()


def copied(new_ledger, tmp_path):
    path = tmp_path / "ledger.db"
    path.write_bytes(new_ledger.read_bytes())
    return path


def test_runs_that_end_within_a_minute_share_a_tracker(bench):
    assert bench.after(5) == 1
    assert bench.commands[0][-2:] == ["-m", "cbi_queue.tracking"]
    assert bench.after(5) == 1, "one at a time"
    bench.ends(0)
    add_in(bench.ledger, JobState.FAILED, "second")
    add_in(bench.ledger, JobState.VETOED, "third")
    assert bench.after(5) == 1
    assert bench.after(GATHER_S) == 2
    bench.ends(0)
    assert bench.after(10 * GATHER_S) == 2, "nothing has ended since"


def test_a_run_that_ends_while_the_tracker_writes_gets_the_next_one(bench):
    bench.after(5)
    add_in(bench.ledger, JobState.SUCCEEDED, "late")
    bench.ends(0)
    assert bench.after(2 * GATHER_S) == 2


def test_runs_that_end_while_the_slot_works_share_a_tracker_for_ten_minutes(bench):
    """From one job to the next the slot is empty at one look, and not idle."""
    running = add_in(bench.ledger, JobState.RUNNING, "long")
    assert bench.after(5) == 0
    assert bench.after(GATHERED_S / 2) == 0
    finish(bench.ledger, running, metrics={})
    assert bench.after(5) == 0
    running = add_in(bench.ledger, JobState.RUNNING, "longer")
    assert bench.after(GATHERED_S / 2) == 1, "the first has waited for ten minutes"
    bench.ends(0)
    assert bench.after(GATHERED_S) == 1, "nothing has ended since"
    finish(bench.ledger, running, metrics={})
    add_in(bench.ledger, JobState.RUNNING, "third")
    assert bench.after(5) == 1
    assert bench.after(GATHERED_S) == 2


def test_a_job_that_never_ran_starts_none(monkeypatch, tmp_path, new_ledger):
    bench = Bench(monkeypatch, copied(new_ledger, tmp_path))
    add_in(bench.ledger, JobState.QUEUED)
    assert bench.after(GATHER_S) == 0
    bench.ledger.close()


@pytest.mark.parametrize("strain", ["duty", "hold", "why_not"])
def test_none_starts_while_the_governor_acts(bench, strain):
    calm = bench.governor.state.__dict__ | {"why_not": None}
    if strain == "why_not":
        bench.why_not = "the chip is hot"
    else:
        setattr(bench.governor.state, strain, 0.6 if strain == "duty" else object())
    assert bench.after(GATHER_S) == 0
    bench.governor.state.duty, bench.governor.state.hold, bench.why_not = calm["duty"] and 1.0, None, None
    assert bench.after(5) == 1


def test_one_that_fails_is_started_again_ever_later_and_at_last_every_hour(bench):
    started_at = []
    for _ in range(4000):
        if bench.after(5) > len(started_at):
            started_at.append(bench.now())
            bench.ends(1)
    waits = [round(after - before) for before, after in itertools.pairwise(started_at)]
    assert waits[:3] == [
        pytest.approx(2 * GATHER_S, abs=11),
        pytest.approx(4 * GATHER_S, abs=11),
        pytest.approx(8 * GATHER_S, abs=11),
    ]
    assert waits[-1] == pytest.approx(MOST_WAIT_S, abs=11)


def test_one_that_hangs_is_ended(bench):
    bench.after(5)
    bench.children[0].is_stuck = True  # by a disk that does not answer: no signal ends it
    assert [bench.after(MOST_S + 5), bench.after(5)] == [1, 1]
    assert bench.children[0].signals == ["KILL", "KILL"]
    bench.ends(-9)
    assert [bench.after(5), bench.after(3 * GATHER_S)] == [1, 2]
    bench.children[1].is_stuck = True
    bench.watch.stop()
    assert bench.children[1].signals == ["TERM", "KILL"]


def test_a_daemon_that_stops_ends_its_tracker(bench):
    bench.after(5)
    bench.watch.stop()
    bench.watch.stop()
    assert bench.children[0].signals == ["TERM", "KILL"]


@pytest.mark.parametrize("options", [{"setting": "off"}, {"installed": False}])
def test_switched_off_or_without_mlflow_none_is_started(monkeypatch, tmp_path, new_ledger, options):
    bench = Bench(monkeypatch, copied(new_ledger, tmp_path), **options)
    add_in(bench.ledger, JobState.SUCCEEDED)
    assert bench.after(GATHER_S) == 0
    bench.watch.finish(bench.ledger)
    assert bench.children == []
    bench.ledger.close()
