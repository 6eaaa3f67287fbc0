"""What a script leaves behind and how it ends: outputs, figures, progress, memory, full disks, garbage from clients."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.telemetry_rows import epochs_of

from cbi_queue.datasets.code_state import with_inputs
from cbi_queue.lifecycle import JobState, Outcome
from cbi_queue.tracking.tracker import records

if TYPE_CHECKING:
    from support.installation import Installation

RESULTS = """
import os, sys, time
from cbi_queue.client import training
os.makedirs("results/deep")
open("results/deep/table.csv", "w").write("a,b\\n")
open("results/metrics.json", "w").write('{"rmse": 0.25, "members": 3, "coverage": 2, "verdicts": 1, "exit_status": 9}')
os.symlink("/etc/passwd", "results/stolen.csv")
os.mkfifo("results/pipe.csv")
(training.output_dir / "plot.png").write_bytes(b"png")
os.symlink("/etc/passwd", training.output_dir / "link")
for done in range(0, 11):
    print(f"\\r{done * 10}%|##| {done}/10 [00:01<00:01, 5it/s]", end="", file=sys.stderr, flush=True)
    time.sleep(0.25)
os.chdir("/")
"""


def script(installation: Installation, name: str, text: str, **params: Any) -> dict[str, Any]:
    """A job that runs *text* by this Python in a folder of its own."""
    folder = installation.root / f"work-{name}"
    folder.mkdir(exist_ok=True)
    (folder / "train.py").write_text(text)
    own = {"command": [sys.executable, "train.py"], "workdir": str(folder), **params}
    return {"family": "script", "model": "command", "horizon": "-", "name": name, "params": own, "retries": 0}


def test_outputs_and_figures_are_kept_and_progress_is_read(installation: Installation) -> None:
    """Regular files alone, of this run alone; a link out, a pipe, an old file stay where they are, and it is told."""
    job = script(installation, "mine", RESULTS, outputs=["results/**/*", "*.old", "nothing.*"])
    (installation.root / "work-mine" / "made.old").write_text("of last year")
    os.utime(installation.root / "work-mine" / "made.old", (1, 1))
    writes = "import os; open(os.environ['CBI_QUEUE_OUTPUT'] + '/metrics.json', 'w').write('{\"a\": {}}')"
    broken = script(installation, "broken", writes, mlflow=True)
    installation.enqueue(job, broken)
    installation.start_daemon()
    done = installation.until_state("mine", "succeeded", "failed")
    assert done.state is JobState.SUCCEEDED, installation.attempts("mine")
    assert done.metrics is not None
    figures = {name: done.metrics[name] for name in ("rmse", "members", "exit_status")}
    assert figures == {"rmse": 0.25, "members": 3, "exit_status": 0}
    files = json.loads((Path(str(done.run_dir)) / "manifest.json").read_text())["files"]
    kept = {name for name in files if name.startswith("outputs/")}
    assert kept == {"outputs/plot.png", "outputs/results/deep/table.csv", "outputs/results/metrics.json"}
    told = [event.words for event in installation.events("mine") if event.event == "note"]
    link, pipe = "'results/stolen.csv' is a link", "'results/pipe.csv' is no regular file"
    for words in (link, pipe, "older than the job", "names no file"):
        assert any(words in text for text in told), (words, told)
    epochs = epochs_of(installation.settings.telemetry_path, done.id)
    assert epochs
    assert all(row.unit == "step" and row.total_epochs == 10 for row in epochs)
    installation.until_state("broken", "succeeded")
    assert "'a' is '{}', which is no finite number" in installation.story("broken")
    assert "tracking is off: the script gets no address" in installation.story("broken")
    for verb in ("show", "results", "leaderboard", "eta"):  # figures that have the names of ours are no mishap
        installation.cli(verb, *(["mine"] if verb == "show" else []))
    said = installation.cli("show", "mine")
    assert "rmse 0.25" in said.partition("Figures: ")[2].partition("\n")[0]
    assert "environment=" not in said, "what is empty is left out"
    assert "is a script of your own: what its result depends on" in installation.cli("show", "mine", "--why")
    installation.cli("status")


HOSTILE = {
    "garbage": """
import os, socket
link = socket.socket(socket.AF_UNIX)
link.connect(os.environ["CBI_QUEUE_SOCKET"])
link.sendall(b"\\xff\\xfegarbage\\n")
old = socket.socket(socket.AF_UNIX)
old.connect(os.environ["CBI_QUEUE_SOCKET"])
old.sendall(b'{"type":"hello","version":0}\\n{"type":"epoch","epoch":9,"wall_s":1}\\n')
old.recv(4096)
""",
    "closes": "import os; os.closerange(0, 256)",
    "full": """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
open("large", "wb").write(bytes(100_000))
""",
    "killed": "import os; os.kill(os.getpid(), 9)",
    "limits": "import sys; print('x' * 100); sys.exit(75)",
}
WORDS = {
    "full": "exited with status 1",
    "killed": "was ended by SIGKILL, not by cbi-queue; nothing shows that memory was short",
    "limits": "exited with status 75",
}


def test_each_script_ends_truthfully(installation: Installation) -> None:
    """A client that speaks garbage is told and not believed; a killed command is no want of memory without evidence."""
    installation.enqueue(*(script(installation, name, text) for name, text in HOSTILE.items()))
    installation.start_daemon()
    for name in HOSTILE:
        done = installation.until_state(name, "succeeded", "failed")
        last = installation.attempts(name)[-1]
        assert done.state is (JobState.FAILED if name in WORDS else JobState.SUCCEEDED), (name, last)
        assert WORDS.get(name, "") in str(last.error), name
        assert last.outcome in {Outcome.ERROR, Outcome.SUCCESS}
    story = installation.story("garbage")
    assert "a line that is no message" in story
    assert "another language" in story
    assert not epochs_of(installation.settings.telemetry_path, installation.job("garbage").id)


def test_inputs_are_part_of_a_job_and_looked_for(installation: Installation, tmp_path: Path) -> None:
    """Another content is another state of the job; a missing file is a complaint of the plan; dirty code is told."""
    data = tmp_path / "data.csv"
    data.write_text("1\n")
    plan = tmp_path / "plan.yaml"
    text = (
        "day: 0\njobs:\n- {name: own, family: script, command: [sh, -c, 'cat data.csv'], memory_mib: 100,\n"
        "   inputs: [data.csv, more.csv], outputs: ['*.x']}\n"
    )
    plan.write_text(text)
    said = installation.cli("plan", "check", str(plan), code=2)
    assert "more.csv' is no file that can be read" in said
    plan.write_text(text.replace(", more.csv", "").replace("*.x", "../*.x"))
    assert "must stay below the workdir" in installation.cli("plan", "check", str(plan), code=2)
    plan.write_text(text.replace(", more.csv", ""))
    installation.cli("enqueue", str(plan))
    before = installation.job("own")
    data.write_text("2\n")
    installation.cli("enqueue", str(plan))
    after = installation.job("own")
    assert before.snapshot != after.snapshot
    assert before.identity != after.identity
    assert with_inputs("a", ()) == "a"
    installation.cli("add", "--input", str(tmp_path / "none"), "--", "true", code=2)
    installation.cli("add", "--memory", "12 sheep", "--", "true", code=2)
    options = ("--memory", "2G", "--input", str(data), "--output", "*.csv")
    named = installation.cli("add", *options, "--", "true").split()[0]
    params = installation.job(named).spec["params"]
    assert (params["memory_mib"], params["inputs"], params["outputs"]) == (2048.0, [str(data)], ["*.csv"])


LOGS = """
import mlflow
with mlflow.start_run(run_name="its own"):
    mlflow.log_metric("loss", 0.5)
    mlflow.log_text("words", "said.txt")
"""


def test_a_script_that_asks_logs_its_own_runs_beside_ours(installation: Installation) -> None:
    """Both are in the experiment of its project, its run is named in the story, and its files lie beside the store."""
    installation.overrides["CBI_TRACKING"] = "on"
    job = script(installation, "mine", LOGS, mlflow=True, project="wind", values={"lr": 0.1})
    installation.enqueue(job)
    installation.start_daemon()
    done = installation.until_state("mine", "succeeded", "failed")
    assert done.state is JobState.SUCCEEDED, installation.log_of("mine").read_text()
    assert "logged to MLflow: run its own of wind (#/experiments/" in installation.story("mine")
    store = installation.settings.models / "mlflow"
    assert [path.read_text() for path in store.rglob("said.txt")] == ["words"]
    (record,) = records(installation.settings)
    assert record.experiment == "wind"
    assert record.params["lr"] == "0.1"
    assert "train.py" in record.params["command"]
    assert not {"horizon", "values"} & record.params.keys()
    assert record.tags["project"] == "wind"


FILLS = """
import os
with open(os.environ["CBI_QUEUE_OUTPUT"] + "/large", "wb", buffering=0) as file:
    try:
        while True:
            file.write(bytes(2**20))
    except OSError as exc:
        print("the script met:", exc.strerror)
"""


def test_a_script_that_fills_a_real_disk_fails_in_words_and_the_queue_goes_on(installation: Installation) -> None:
    """The result cannot be written: which file, why and what to do; with room again the same job succeeds."""
    models = installation.root / "small"
    models.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", models], check=False).returncode:
        pytest.skip("only root may mount a disk of 4 MiB here")
    try:
        installation.overrides["CBI_V14_MODELS"] = str(models)
        installation.enqueue(script(installation, "mine", FILLS))
        installation.start_daemon()
        installation.until_state("mine", "succeeded", "failed")
        said = str(installation.attempts("mine")[-1].error)
        assert "metrics.json: no space left on device; free up space on that disk" in said
        assert "the script met: No space left" in installation.log_of("mine").read_text()
        subprocess.run(["mount", "-o", "remount,size=64m", models], check=True)
        (installation.root / "work-mine" / "train.py").write_text("print('small')")
        installation.cli("retry", "mine")
        assert installation.until_state("mine", "succeeded", "failed").state is JobState.SUCCEEDED
    finally:
        installation.close()
        subprocess.run(["umount", "-l", models], check=True)
