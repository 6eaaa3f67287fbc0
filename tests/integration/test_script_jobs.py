"""Commands of the user's own as jobs: real processes that fork, leave their session, ignore signals and are killed."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from support.installation import Installation
from support.waiting import until

from cbi_queue.artifacts import CHECKPOINT_FOLDER
from cbi_queue.lifecycle import JobState, Outcome
from cbi_queue.process_identity import ProcessIdentity
from cbi_queue.process_marks import NOTED, mark_of, marked, noted, stamp
from jobs.script.tree import Tree

UNRULY = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
work = '''
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.closerange(0, 256)
with open(sys.argv[1], "w") as f:
    f.write(str(os.getpid()))
while True:
    with open(sys.argv[1] + ".beat", "a") as f:
        f.write(".")
    time.sleep(0.02)
'''
subprocess.Popen([sys.executable, "-c", work, "apart"], start_new_session=True)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execv(sys.executable, [sys.executable, "-c", work, "daemonised"])
    os._exit(0)
os.wait()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execve(sys.executable, [sys.executable, "-c", work, "cleared"], {})
    os._exit(0)
os.wait()
exec(work.replace("sys.argv[1]", "'own'"))
"""
PLACES = ("own", "apart", "daemonised", "cleared")


def script(installation: Installation, text: str, **more: Any) -> dict[str, Any]:
    """A job that runs *text* by this Python in a folder of its own."""
    folder = installation.root / "work"
    folder.mkdir(exist_ok=True)
    (folder / "train.py").write_text(text)
    params = {"command": [sys.executable, "train.py"], "workdir": str(folder)}
    return {"family": "script", "model": "command", "horizon": "-", "name": "mine", "params": params, **more}


def processes(installation: Installation) -> list[ProcessIdentity]:
    """Those that the unruly script started, once all are there."""
    files = [installation.root / "work" / place for place in PLACES]
    until(lambda: all(file.exists() and file.read_text() for file in files), "its processes are there")
    found = [ProcessIdentity.of(int(file.read_text())) for file in files]
    notes = Path(str(installation.job("mine").run_dir)) / CHECKPOINT_FOLDER / NOTED
    cleared = f" {files[-1].read_text()} "  # nothing in its environment tells what it belongs to
    if sys.platform == "linux":  # nor does a note: both kills come before it
        while not notes.is_dir():
            notes.unlink(missing_ok=True)
            with contextlib.suppress(FileExistsError):
                notes.mkdir()
    else:
        until(lambda: notes.exists() and cleared in notes.read_text(), "the runner has noted it")
    return [identity for identity in found if identity is not None]


def mark_in(installation: Installation, attempt: int) -> str:
    """What the processes of an attempt of the job carry."""
    with installation.ledger() as ledger:
        return mark_of(installation.settings.state_dir, ledger.ledger_id, installation.job("mine").id, attempt)


def copy_of_it(installation: Installation) -> None:
    """Run the daemon of a copy of the state folder, until it has settled what the copied ledger says is running."""
    shutil.copytree(installation.settings.state_dir, installation.root / "copy")
    copy = Installation(installation.root, {**installation.overrides, "CBI_STATE_DIR": str(installation.root / "copy")})
    daemon = copy.start_daemon()
    installation.daemons.append(daemon)
    copy.until_state("mine", "queued")
    until(lambda: "that of the queue in" in copy.cli("status"), "it finds the models folder taken")
    daemon.terminate()
    assert daemon.wait(60) == 0


def beats(installation: Installation) -> list[int]:
    """How far each process has come."""
    return [(installation.root / "work" / f"{place}.beat").stat().st_size for place in PLACES]


def test_a_pause_stops_all_of_it_and_a_cancel_ends_all_of_it(installation: Installation) -> None:
    """Also what left the session, forked twice, cleared its environment, ignores SIGTERM, closed its descriptors.

    The daemon of a copy of the state folder, with the same ledger, leaves all of it alone.
    """
    installation.enqueue(script(installation, UNRULY))
    installation.start_daemon()
    all_of_it = processes(installation)
    assert len(all_of_it) == len(PLACES)
    copy_of_it(installation)
    assert installation.trainer("mine").is_alive()
    assert all(each.is_alive() for each in all_of_it)
    installation.cli("pause")
    until(lambda: all(psutil.Process(each.pid).status() == "stopped" for each in all_of_it), "all are stopped")
    before = beats(installation)
    time.sleep(0.2)
    assert beats(installation) == before
    installation.cli("resume")
    until(lambda: all(now > then for now, then in zip(beats(installation), before, strict=True)), "all go on")
    installation.cli("cancel", "mine")
    installation.until_state("mine", "cancelled")
    until(lambda: not any(each.is_alive() for each in all_of_it), "nothing is left")


def test_what_has_ended_is_noted_no_longer(tmp_path: Path) -> None:
    """A week of short commands filled the file, and beyond a size nothing of it was read."""
    notes, mark = tmp_path / NOTED, mark_of(tmp_path, "ledger", 1, 1)
    tree, pids = Tree(mark, notes), []
    for _ in range(2):
        with subprocess.Popen(["sleep", "60"]) as child:
            tree.note()
            pids.append(child.pid)
            assert child.pid in {each.pid for each in noted(notes, mark)}
            child.kill()
    assert [str(pid) in notes.read_text().split() for pid in pids] == [False, True]


@pytest.mark.skipif(sys.platform != "linux", reason="the second mark is Linux's")
def test_the_second_mark_is_read_where_the_environment_cannot_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel keeps the environment of a process that may not be dumped, such as ssh-agent, from its own user."""
    mark, read = mark_of(tmp_path, "ledger", 1, 2), Path.read_bytes

    def refused(path: Path) -> bytes:
        if path.name == "environ":
            raise PermissionError
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", refused)
    with subprocess.Popen(["sleep", "60"], env={}, preexec_fn=lambda: stamp(mark)) as child:  # noqa: PLW1509
        try:
            assert [each.pid for each in marked(mark)] == [child.pid]
        finally:
            child.kill()


@pytest.mark.parametrize("killed", ["runner", "both", "daemon"])
def test_after_a_sigkill_nothing_of_it_lives_beside_the_next_attempt(installation: Installation, killed: str) -> None:
    """Whoever dies, the old tree is gone before the new one starts."""
    installation.enqueue(script(installation, UNRULY))
    daemon = installation.start_daemon()
    old = processes(installation)
    runner = installation.trainer("mine")
    for place in PLACES:
        (installation.root / "work" / place).unlink()
    time.sleep(random.random() * 0.3)
    if killed != "runner":
        os.kill(daemon.pid, signal.SIGKILL)
        daemon.wait()
    if killed != "daemon":
        runner.kill()
    if killed != "runner":
        installation.start_daemon()
    new = processes(installation)
    assert not any(each.is_alive() for each in old)
    assert {each.pid for each in new}.isdisjoint({each.pid for each in old})
    assert len(installation.attempts("mine")) == 2
    assert all(line["alone"] for line in installation.overlaps())
    installation.cli("cancel", "mine")
    installation.until_state("mine", "cancelled")
    for attempt in (1, 2):
        assert not marked(mark_in(installation, attempt))


def test_what_a_script_prints_is_harmless_and_bounded_and_its_end_is_told(installation: Installation) -> None:
    """Binary output, a deleted workdir, a leftover child, a failure in words, memory, a program that is missing."""
    loud = """
import os, shutil, subprocess, sys
subprocess.Popen(["sleep", "600"], start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
os.write(1, bytes(range(256)) * 4 + b"\\x1b[2J\\n")
line = b"y" * 99 + b"\\n"
for _ in range(300):
    os.write(1, line * 1000)
shutil.rmtree(os.getcwd())
"""
    folder = installation.root / "other"
    folder.mkdir()
    ends = {
        "status": (["sh", "-c", "exit 7"], "exited with status 7"),
        "signal": (["sh", "-c", "kill -SEGV $$"], "was ended by SIGSEGV"),
        "memory": ([sys.executable, "-c", "raise MemoryError('no more')"], "MemoryError: no more"),
        "gone": (["no-such-program"], "cannot start 'no-such-program'"),
    }
    more: list[dict[str, Any]] = [
        {"family": "script", "model": "command", "horizon": "-", "name": name, "retries": 0,
         "params": {"command": command, "workdir": str(folder)}}
        for name, (command, _) in ends.items()
    ]  # fmt: skip
    installation.enqueue(script(installation, loud), *more)
    installation.start_daemon()
    done = installation.until_state("mine", "succeeded", "failed")
    assert done.state is JobState.SUCCEEDED
    assert json.loads((Path(str(done.run_dir)) / "metrics.json").read_text())["exit_status"] == 0
    log = installation.log_of("mine")
    logs = [file for file in log.parent.iterdir() if file.name.startswith(log.name)]
    assert all(b"\x1b" not in file.read_bytes() and b"\0" not in file.read_bytes() for file in logs)
    assert sum(file.stat().st_size for file in logs) < 4 * 30 * 2**20
    assert not marked(mark_in(installation, 1))
    for name, (_, words) in ends.items():
        installation.until_state(name, "failed")
        assert words in str(installation.attempts(name)[-1].error), name
    assert installation.attempts("memory")[0].outcome is Outcome.OOM


def test_add_names_the_job_and_changed_code_is_another_state_of_it(installation: Installation, tmp_path: Path) -> None:
    """The one-liner, and a plan whose script is edited between two enqueues."""
    (tmp_path / "train.py").write_text("print('first')\n")
    said = installation.cli("add", "--workdir", str(tmp_path), "--env", "LR=0.1", "--", "python3", "train.py", "--lr")
    assert said.split() == ["train-lr"]
    again = installation.cli("add", "--json", "--workdir", str(tmp_path), "--", "python3", "train.py", "--lr")
    assert json.loads(again)["name"] == "train-lr-2"
    installation.cli("add", "--workdir", str(tmp_path), "--", "python3", "trian.py", code=2)
    late = ("--after", "train-lr", "--input", "made.csv", "--", "python3", "made.py")
    assert installation.cli("add", "--workdir", str(tmp_path), *late).split() == ["made"]
    assert "'./train.py'" in installation.cli("add", "--workdir", str(tmp_path), "--", "train.py", code=2)
    assert installation.cli("add", "--", "sh", "-c", "echo a/b; true").split() == ["echo-a-b-true"]
    plan = tmp_path / "plan.yaml"
    plan.write_text(
        "day: 0\njobs:\n- {name: 'own-{lr}', family: script, matrix: {params.lr: [0.1, 0.2]},\n"
        "   command: [python3, train.py, --lr, '{lr}', '{\"a\": {b}}']}\n"
    )
    assert "Enqueued 2 jobs" in installation.cli("enqueue", str(plan))
    assert "Nothing changed" in installation.cli("enqueue", str(plan))
    assert installation.job("own-0.1").spec["params"]["command"][2:] == ["--lr", "0.1", '{"a": {b}}']
    before = installation.job("own-0.1").identity
    (tmp_path / "train.py").write_text("print('second')\n")
    installation.cli("enqueue", str(plan))
    assert installation.job("own-0.1").identity != before
    installation.start_daemon()
    for name in ("own-0.1", "own-0.2"):
        installation.until_state(name, "succeeded")
    assert "second" in installation.log_of("own-0.1").read_text()
    (tmp_path / "train.py").write_text("print('third')\n")
    assert "Enqueued 2 jobs" in installation.cli("enqueue", str(plan))
    assert "own-0.1" in installation.cli("status") + installation.cli("list")
