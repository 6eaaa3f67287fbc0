"""The client in a script of its own process, with the runner's channel at the other end, and clients that lie."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from cbi_queue.protocol import CheckpointSaved, EpochReport, MicroBatchChanged, Note, Restored, Started
from jobs.process.log_lines import log_line
from jobs.script.client_channel import ClientChannel
from jobs.script.link import ClientLink
from tests.support.waiting import until

pytestmark = pytest.mark.process

LOOP = """
import os, sys, time
from cbi_queue.client import training
path = training.resume_from()
for epoch in training.epochs(int(sys.argv[1])):
    time.sleep(float(sys.argv[2]))
    training.report(epoch, of=int(sys.argv[1]), loss=1 / epoch, samples=10)
    for wrong in (-1, "x", epoch + 0.5, float("inf"), object()):
        training.report(wrong)
    training.metric("rmse", float("nan"))
    training.metric("rmse", epoch)
    training.micro_batch(32)
    while epoch == 2 and len(sys.argv) > 3 and not os.path.exists(sys.argv[3]):
        time.sleep(0.01)
    if epoch == 2 and os.fork() == 0:
        training.report(50)
        training.metric("child", 1)
        os._exit(0)
    if training.checkpoint_due():
        with training.save(epoch, ".txt") as path:
            path.write_text(str(epoch))
print("done", training.active)
"""


class Runner:
    """A channel with its reports, and the environment that leads a script to it."""

    def __init__(self, folder: Path):
        folder.chmod(0o700)
        self.folder, self.reports = folder, []
        self.channel = ClientChannel(folder, self.reports.append)
        (folder / "checkpoints").mkdir()

    def start(self, *arguments: object, python: str = sys.executable) -> subprocess.Popen[str]:
        """Start the loop above."""
        own = {"CBI_QUEUE_SOCKET": str(self.channel.path), "CBI_QUEUE_CHECKPOINTS": str(self.folder / "checkpoints")}
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(self.folder), **own}
        command = [python, "-c", LOOP, *map(str, arguments)]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True, cwd=self.folder)

    def of_kind(self, kind: type) -> list:
        """The reports of one kind so far."""
        return [report for report in tuple(self.reports) if isinstance(report, kind)]

    def connect(self, *lines: bytes | dict) -> socket.socket:
        """Connect and send lines."""
        said = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
        link = socket.socket(socket.AF_UNIX)
        try:
            link.connect(str(self.channel.path))
            if said:  # all at once: after a wrong line the other side hangs up
                link.sendall(b"".join(line + b"\n" for line in said))
        except OSError:
            link.close()
            raise
        return link


@pytest.fixture
def runner(tmp_path_factory):
    made = Runner(tmp_path_factory.mktemp("c"))
    yield made
    made.channel.close()


HELLO = {"type": "hello", "version": 1, "pid": 1, "python": "3.8.18"}
EPOCH = {"type": "epoch", "epoch": 1, "wall_s": 0.5}


@pytest.mark.parametrize("version", ["here", "3.8", "3.9"])
def test_a_script_reports_stops_with_a_checkpoint_and_goes_on_after_it(runner, version):
    found = sorted((Path.home() / ".pyenv" / "versions").glob(f"{version}.*/bin/python"))
    if version != "here" and not found:
        pytest.skip(f"there is no Python {version} here")
    python = str(found[0]) if found else sys.executable
    script = runner.start(1000, 0.02, python=python)
    until(lambda: len(runner.of_kind(EpochReport)) >= 3, "three epochs")
    runner.channel.order(micro_batch=8)
    until(lambda: runner.of_kind(MicroBatchChanged), "the smaller micro-batch")
    runner.channel.order(stop=True, checkpoint=True)
    _, errors = script.communicate(timeout=60)
    assert script.returncode == 75
    assert errors.count("(said once)") == 2  # epoch and metric, each once
    until(lambda: runner.of_kind(CheckpointSaved), "the checkpoint")
    saved = runner.of_kind(CheckpointSaved)[-1].epoch
    epochs = runner.of_kind(EpochReport)
    assert [report.epoch for report in epochs] == list(range(1, saved + 1))  # nothing of the forked child
    assert all(0.015 < report.wall_s < 60.0 and report.samples == 10 for report in epochs)
    assert epochs[1].train_loss == 0.5
    assert runner.channel.metrics == {"rmse": float(saved)}
    assert runner.channel.can == {"checkpoint", "micro_batch"}
    assert [path.name for path in (runner.folder / "checkpoints").iterdir()] == [f"epoch-{saved:08d}.txt"]

    (runner.folder / "checkpoints" / ".partial-1-epoch-00000999.txt").write_text("torn")
    runner.channel.order(stop=False, checkpoint=False)
    runner.reports.clear()
    again = runner.start(saved + 2, 0, python=python)
    assert again.communicate(timeout=60)[0] == "done True\n"
    until(lambda: len(runner.of_kind(EpochReport)) == 2, "the two epochs that were left")
    assert [report.epoch for report in runner.of_kind(Restored)] == [saved]
    assert [report.epoch for report in runner.of_kind(EpochReport)] == [saved + 1, saved + 2]
    assert not runner.of_kind(Note)


def test_time_that_the_kernel_kept_a_script_stopped_is_left_out(runner):
    began_s = time.monotonic()
    script = runner.start(1000, 0.05)
    until(lambda: runner.of_kind(EpochReport), "the first epoch")
    script.send_signal(signal.SIGSTOP)
    stopped_s = time.monotonic()
    until(lambda: time.monotonic() - stopped_s > 1.0, "a second of pause")
    paused_s = time.monotonic() - stopped_s
    runner.channel.was_stopped(paused_s)
    count = len(runner.of_kind(EpochReport))
    script.send_signal(signal.SIGCONT)
    until(lambda: len(runner.of_kind(EpochReport)) > count + 2, "epochs after the pause")
    script.kill()
    script.communicate()
    told_s = sum(report.wall_s for report in runner.of_kind(EpochReport))
    assert told_s < time.monotonic() - began_s - paused_s
    assert any(report.resumed for report in runner.of_kind(EpochReport)[count:])


def test_a_script_goes_on_when_the_queue_is_gone_or_was_never_there(runner):
    gone = runner.folder / "gone"
    script = runner.start(4, 0, gone)
    until(lambda: runner.of_kind(EpochReport), "the first epoch")
    runner.channel.close()
    gone.touch()
    assert script.communicate(timeout=60)[0] == "done False\n"
    late = runner.start(3, 0)
    output, errors = late.communicate(timeout=60)
    assert (late.returncode, output) == (0, "done False\n")
    assert errors.count("cannot reach the queue") == 1


def test_what_a_client_says_is_checked_and_told_once(runner):
    wrong = [
        {**EPOCH, **change}
        for change in (
            {"epoch": -1}, {"epoch": True}, {"epoch": "1"}, {"epoch": 10**30}, {"wall_s": float("nan")},
            {"wall_s": -1}, {"wall_s": 10**400}, {"wall_s": None},
        )
    ]  # fmt: skip
    extra = [{"type": "metric", "name": "\x1b[2J", "value": 1}, {"type": "steal"}, {"type": "can", "can": [[]]}]
    with runner.connect(HELLO, *wrong, *extra, {**EPOCH, "train_loss": float("inf"), "samples": -5}, EPOCH):
        until(lambda: runner.of_kind(EpochReport), "the one that holds")
        assert runner.of_kind(EpochReport)[0].total_epochs == 0, "not known, as it did not say"
        with runner.connect(HELLO, {**EPOCH, "epoch": 9}, {"type": "metric", "name": "mae", "value": 2}):
            until(lambda: runner.channel.metrics, "the other process's metric")
    assert [(report.epoch, report.train_loss, report.samples) for report in runner.of_kind(EpochReport)] == [
        (1, None, None)
    ]
    assert len(runner.of_kind(Note)) == 1
    assert "\x1b" not in runner.of_kind(Note)[0].text


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([b"\xff\x00garbage"], "no message"),
        ([b"[" * 60_000], "no message"),
        ([{**HELLO, "version": 2}, EPOCH], "version 2"),
        ([EPOCH], "no hello first"),
    ],
)
def test_another_language_is_told_and_nothing_of_it_is_believed(runner, lines, words):
    with runner.connect(*lines) as link:
        link.settimeout(60)
        while link.recv(4096):
            pass
    assert [words in note.text for note in runner.reports] == [True]
    assert not runner.channel.has_client


def test_endless_lines_and_a_thousand_connections_leave_the_honest_client_heard(runner):
    with runner.connect(HELLO) as honest:
        endless = runner.connect()
        with pytest.raises(OSError, match=r"reset|[Pp]ipe"):
            endless.sendall(bytes(2**30))
        endless.close()
        crowd = []
        for _ in range(1000):
            try:
                crowd.append(runner.connect())
            except OSError:
                break
        for link in crowd:
            link.close()
        honest.sendall(json.dumps(EPOCH).encode() + b"\n")
        until(lambda: runner.of_kind(EpochReport), "the honest client's epoch")
    assert sorted(note.text.partition(" ")[0] for note in runner.of_kind(Note)) == ["a", "a"]


def test_a_client_that_never_reads_or_writes_without_end_holds_nobody_up(runner):
    with runner.connect(HELLO) as deaf, runner.connect(HELLO) as honest:
        for duty in range(3000):
            runner.channel.order(duty=duty / 3000)
        flood = json.dumps({"type": "metric", "name": "m", "value": 1}).encode() + b"\n"
        deaf.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while deaf.send(flood * 100):
                pass
        honest.sendall(json.dumps(EPOCH).encode() + b"\n")
        until(lambda: runner.of_kind(EpochReport), "the honest client's epoch")


def test_a_script_that_does_not_say_how_many_epochs_there_are_is_begun_once(tmp_path):
    """Each `Started` begins a governor, which would know nothing of the epochs before."""
    reports = []
    channel = SimpleNamespace(report=reports.append, duty=1.0, wanted_micro_batch=None, paused_s=0.0)
    assignment = SimpleNamespace(ledger_id="x", job_id=1, micro_batch=None)
    (tmp_path / "run").mkdir()
    task = SimpleNamespace(channel=channel, assignment=assignment, run_dir=tmp_path / "run", checkpoint_dir=tmp_path)
    link = ClientLink(task, Started(total_epochs=1, unit="run", can=("pace",)))
    text = "from cbi_queue.client import training as t; t.checkpoint_due(); [t.report(n, micro_batch=8) for n in (1, 2, 3)]"
    try:
        environment = {"PATH": os.environ["PATH"], **link.environment("")}
        subprocess.run([sys.executable, "-c", text], env=environment, check=True, cwd=tmp_path)
    finally:
        link.close()
    link.obey()
    begun = [(each.total_epochs, each.micro_batch) for each in reports if isinstance(each, Started)]
    assert begun == [(0, 8)]
    assert [each.epoch for each in reports if isinstance(each, EpochReport)] == [1, 2, 3]
    assert log_line(reports[-1]).startswith("3 in ")


ODD = """
import os, resource
from cbi_queue.client import training
resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
held = [os.open("/dev/null", os.O_RDONLY) for _ in range(1100)]
training.report(1, micro_batch="32")
training.micro_batch(32)
training.checkpoint_due()
for number in range(300):
    training.metric(f"figure_{number}", number)
"""


def test_an_odd_script_is_understood_and_its_last_words_are_heard(runner):
    """A warning about a micro-batch is no request for one, a descriptor above 1,024 no end, and a burst is not cut."""
    own = {"CBI_QUEUE_SOCKET": str(runner.channel.path), "PYTHONPATH": str(runner.folder)}
    command = [sys.executable, "-c", ODD]
    done = subprocess.run(command, env=own, capture_output=True, text=True, check=False, cwd=runner.folder)
    assert (done.returncode, done.stderr.count("(said once)")) == (0, 1), done.stderr
    runner.channel.close()
    assert runner.channel.metrics == {f"figure_{number}": float(number) for number in range(300)}
    assert runner.channel.full_micro_batch == 32
