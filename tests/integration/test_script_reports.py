"""Scripts with the client under the whole queue: reports, orders, checkpoints, results, and kills at random moments."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support.governed_installation import PAGING, ROOMY, until_decision
from support.governed_installation import script as sensed
from support.waiting import until

from cbi_queue.lifecycle import JobState, Outcome

if TYPE_CHECKING:
    from support.installation import Installation

SCRIPT = """
import fcntl, os, sys, time
from cbi_queue.client import training
alone = open("lock", "w")
fcntl.flock(alone, fcntl.LOCK_EX | fcntl.LOCK_NB)  # two at once: an error
path = training.resume_from()
story = open("story", "a", buffering=1)
story.write(f"start {path.read_text() if path else 0}\\n")
for epoch in training.epochs(10_000):
    time.sleep(0.05)
    training.report(epoch, of=10_000, loss=1 / epoch, samples=10, micro_batch=training.micro_batch(32))
    with training.save(epoch) as path:
        path.write_text(str(epoch))
    story.write(f"epoch {epoch}\\n")
    if os.path.exists("enough"):
        break
training.metric("rmse", 0.25)
(training.output_dir / "plot.txt").write_text("drawn")
"""


def script(installation: Installation, text: str, name: str = "mine", **params: Any) -> dict[str, Any]:
    """A job that runs *text* by this Python in a folder of its own."""
    folder = installation.root / f"work-{name}"
    folder.mkdir(exist_ok=True)
    (folder / "train.py").write_text(text)
    own = {"command": [sys.executable, "train.py"], "workdir": str(folder), **params}
    return {"family": "script", "model": "command", "horizon": "-", "name": name, "params": own}


def story(installation: Installation) -> list[tuple[str, int]]:
    """What the script wrote down: (start | epoch, number)."""
    path = installation.root / "work-mine" / "story"
    lines = path.read_text().splitlines() if path.exists() else []
    return [(what, int(number)) for what, number in map(str.split, lines)]


def test_after_any_kill_a_script_goes_on_from_its_own_checkpoint(installation: Installation) -> None:
    """A hold that evicts loses no epoch; SIGKILL of runner, daemon, both loses at most one; never two at once."""
    installation.enqueue(script(installation, SCRIPT))
    daemon = installation.start_daemon()
    until(lambda: ("epoch", 3) in story(installation), "three epochs")
    installation.cli("pause", "--evict")
    until(lambda: installation.attempts("mine")[0].outcome is Outcome.EVICTED, "it left the slot")
    done = story(installation)[-1][1]
    installation.cli("resume")
    until(lambda: ("start", done) in story(installation), "it went on after its last epoch")
    for killed in ("runner", "daemon", "both"):
        count = len(story(installation))
        until(lambda count=count: len(story(installation)) > count + 2, "it goes on")
        time.sleep(random.random() * 0.2)
        runner = installation.trainer("mine")
        if killed != "runner":
            os.kill(daemon.pid, signal.SIGKILL)
            daemon.wait()
        if killed != "daemon":
            runner.kill()
        if killed != "runner":
            daemon = installation.start_daemon()
    (installation.root / "work-mine" / "enough").touch()
    job = installation.until_state("mine", "succeeded", "failed")
    assert job.state is JobState.SUCCEEDED, installation.attempts("mine")
    assert job.metrics is not None
    assert job.metrics["rmse"] == 0.25
    assert all(line["alone"] for line in installation.overlaps())
    last = 0
    for what, number in story(installation):
        assert number in ({last, last + 1} if what == "start" else {last + 1}), story(installation)
        last = number
    assert sum(event.event == "restored" for event in installation.events("mine")) >= 4
    manifest = json.loads((Path(str(job.run_dir)) / "manifest.json").read_text())
    assert "outputs/plot.txt" in manifest["files"]


HUNGRY = """
import os, time
from cbi_queue.client import training
first = training.micro_batch(64)
open("sizes", "a").write(f"start {first}\\n")
for epoch in training.epochs(100_000):
    time.sleep(0.02)
    training.report(epoch, of=100_000, loss=1.0, samples=64, micro_batch=training.micro_batch(64))
    open("size", "w").write(str(training.micro_batch(64)))
    if os.path.exists("full"):
        os.remove("full")
        raise MemoryError("no room")
"""


def test_short_memory_reaches_a_script_in_the_middle_and_running_out_halves_what_it_begins_with(
    governed: Installation,
) -> None:
    """The governor's order is a directive that the script takes; after an end for memory the next attempt has half."""
    governed.enqueue(script(governed, HUNGRY))
    sensed(governed, (0.0, PAGING), (15.0, ROOMY))  # no attempt begins while memory is short
    governed.start_daemon()
    folder = governed.root / "work-mine"

    def size() -> int:
        return int((folder / "size").read_text() or 64) if (folder / "size").exists() else 64

    until_decision(governed, "micro_batch")
    until(lambda: size() < 64, "the script takes fewer samples")
    until(lambda: "trains with micro-batch 32" in governed.story("mine"), "told")
    (folder / "full").touch()
    starts = until(lambda: (folder / "sizes").read_text().split()[3::2], "the next attempt begins")
    assert governed.attempts("mine")[0].outcome is Outcome.OOM
    most = governed.job("mine").micro_batch
    assert most is not None
    assert most <= 16
    assert int(starts[0]) <= most
    assert f"will be retried with micro-batch {most}" in governed.story("mine")
    governed.cli("cancel", "mine")
