"""Finished runs in MLflow's store: read with MLflow's own client, written by real trackers, some of them killed."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from support.api_installation import free_port
from support.installation import NAIVE, NET
from support.tracked_runs import MlflowReader, TrackedRuns
from support.waiting import until

from cbi_queue.api.job_view import job_view
from cbi_queue.ledger.verbs import accept
from cbi_queue.tracking import store
from cbi_queue.tracking.store import COPIED_BYTES
from cbi_queue.tracking_state import read_state

pytestmark = pytest.mark.process
pytest.importorskip("alembic", reason="MLflow is not installed")


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    """MLflow's own client in a process of its own."""
    reader = MlflowReader(tmp_path_factory.mktemp("reader"))
    yield reader
    reader.close()


@pytest.fixture
def tracked(reader, installation):
    """An installation whose runs are made without a training."""
    return TrackedRuns(installation, reader)


def test_a_daemon_has_every_run_tracked_and_never_imports_mlflow(installation, tracked):
    """The whole chain: real trainings, the daemon, its tracker, MLflow's client."""
    installation.overrides["CBI_TRACKING"] = "on"
    net = {**NET, "params": {**NET["params"], "epochs": 5}}
    installation.enqueue(
        {**NAIVE, "name": "fine"},
        {**net, "name": "a-net"},
        {**NAIVE, "name": "broken", "horizon": "3m", "retries": 0},
    )
    daemon = installation.start_daemon("--until-empty")
    seen = ""
    while daemon.poll() is None:
        if (maps := Path(f"/proc/{daemon.pid}/maps")).exists():
            seen += maps.read_text()
        time.sleep(0.5)
    assert "sqlalchemy" not in seen
    runs = tracked.runs()
    assert set(runs) == {"fine", "a-net", "broken"}
    net_run = runs["a-net"]
    assert (net_run["experiment"], net_run["status"]) == ("default 1w", "FINISHED")
    assert net_run["params"]["hidden"] == "[32]"
    assert net_run["params"]["model"] == "feed_forward"
    assert [step for step, _ in net_run["curve"]] == [1, 2, 3, 4, 5]
    assert net_run["metrics"]["backtest/mape_pct"] == installation.job("a-net").metrics["backtest"]["mape_pct"]
    assert {"model.safetensors", "why.json", "queue.json"} <= set(net_run["files"])
    assert net_run["tags"]["snapshot"] == (installation.job("a-net").snapshot or "not recorded")
    assert net_run["tags"]["scheme"] in {"holdout", "walk_forward"}
    assert (runs["broken"]["experiment"], runs["broken"]["status"]) == ("default 3m", "FAILED")
    assert "features job of horizon 3m" in runs["broken"]["tags"]["error"]
    assert read_state(installation.settings).failure is None


def test_what_is_told_of_a_run(tracked, installation):
    folder = tracked.ended(
        "vetoed-run",
        3,
        veto="it leaks",
        metrics={"verdicts": [{"name": "leak", "level": "veto", "evidence": "too good"}]},
    )
    tracked.ended("failed-run", error="line one\nline two")
    tracked.track()
    runs = tracked.runs()
    told = runs["vetoed-run"]
    assert told["status"] == "FAILED"
    assert told["tags"]["state"] == "vetoed"
    assert told["tags"]["verdicts"] == "veto: leak: too good"
    assert told["tags"]["skill"] == "backtest skill +0.010 (-0.020 to +0.040): not told apart from naive"
    assert told["tags"]["mlflow.source.git.commit"] == "a" * 40
    assert runs["failed-run"]["tags"]["error"] == "line one\nline two"
    assert Path(told["folder"], "model.txt").samefile(folder / "model.txt"), "linked: it takes no space twice"
    story = json.loads(Path(told["folder"], "queue.json").read_text())
    assert story["job"]["name"] == "vetoed-run"
    assert story["events"]
    with installation.ledger() as ledger:
        accept(ledger, ["vetoed-run"], "I looked")
    tracked.track()
    accepted = tracked.runs()["vetoed-run"]
    assert (accepted["status"], accepted["tags"]["state"], accepted["id"]) == ("FINISHED", "succeeded", told["id"])
    place = job_view(installation.settings, "vetoed-run").tracked
    assert (place.run_id, place.experiment) == (told["id"], told["experiment"])
    assert place.path == f"/#/experiments/{place.experiment_id}/runs/{told['id']}"
    tracked.ended("not-yet")
    assert job_view(installation.settings, "not-yet").tracked is None


def runs_in(store) -> int:
    """Runs in MLflow's database; -1 before it has its table."""
    try:
        with closing(sqlite3.connect(f"file:{store / 'mlflow.db'}?mode=ro", uri=True)) as conn:
            return conn.execute("SELECT count(*) FROM runs").fetchone()[0]
    except sqlite3.Error:
        return -1


def test_a_run_is_never_there_twice_however_often_trackers_are_killed(tracked, installation):
    """SIGKILL at any moment: between two runs, within one, before the first."""
    for number in range(12):
        tracked.ended(f"run-{number}", 40)
    command = [sys.executable, "-P", "-m", "cbi_queue.tracking", "--now"]
    killed = 0
    for written in (0, 1, 4):
        tracker = subprocess.Popen(command, env=installation.environ, cwd=installation.root)
        until(lambda child=tracker, n=written: runs_in(tracked.store) >= n or child.poll() is not None, "it worked")
        killed += tracker.poll() is None
        tracker.send_signal(signal.SIGKILL)
        tracker.wait()
    assert killed >= 1, "none was killed at work"
    tracked.track()
    runs = tracked.runs()
    assert set(runs) == {f"run-{number}" for number in range(12)}
    assert all(len(run["curve"]) == 40 and run["status"] == "FINISHED" for run in runs.values())
    assert "no runs written" in tracked.track()


def test_a_run_that_was_deleted_in_mlflow_does_not_come_back(tracked):
    tracked.ended("kept")
    tracked.ended("deleted")
    tracked.track()
    with closing(sqlite3.connect(tracked.store / "mlflow.db")) as conn, conn:
        conn.execute("UPDATE runs SET lifecycle_stage = 'deleted' WHERE name = 'deleted'")
    assert "no runs written" in tracked.track()
    tracked.track("--all")
    assert set(tracked.runs()) == {"kept"}


def test_what_others_put_into_a_run_folder_is_not_followed(tracked, tmp_path):
    """Only what the manifest names, only regular files, none that grew since."""
    secret = tmp_path / "secret"
    secret.write_text("mine")
    linked, grown, piped = (tracked.ended(name) for name in ("linked", "grown", "piped"))
    for folder in (linked, piped):
        (folder / "model.txt").unlink()
    (linked / "model.txt").symlink_to(secret)
    (linked / "planted.txt").write_text("not in the manifest")
    (grown / "model.txt").write_text("longer than it was")
    os.mkfifo(piped / "model.txt")
    tracked.track()
    runs = tracked.runs()
    assert "model.txt: is a link, and links are not followed" in runs["linked"]["tags"]["files not linked"]
    assert "differs from its manifest" in runs["grown"]["tags"]["files not linked"]
    assert "pipe" in runs["piped"]["tags"]["files not linked"]
    assert all(run["files"] == ["queue.json", "training_hash.txt"] for run in runs.values())


def test_a_link_in_the_store_leads_no_file_out_of_it(tmp_path):
    run, folder, outside = tmp_path / "run", tmp_path / "artifacts", tmp_path / "outside"
    for each in (run / "part", folder, outside):
        each.mkdir(parents=True)
    (run / "part" / "model.txt").write_text("trees")
    (outside / "model.txt").write_text("the user's own")
    (folder / "part").symlink_to(outside)
    assert "there is a link on the way" in store._place(run, "part/model.txt", 5, folder)
    assert (outside / "model.txt").read_text() == "the user's own"


def test_odd_numbers_and_a_hundred_thousand_epochs(tracked):
    odd = {"of\nnewline": {"a/b": 1.5}, "flag": True, "huge": 10**400, "list": [1.0], "nothing": None}
    tracked.ended("odd", 3, metrics=odd, report={"train_loss": float("inf")})
    tracked.ended("long", 100_000)
    tracked.track()
    runs = tracked.runs()
    assert runs["odd"]["metrics"]["of_newline/a_b"] == 1.5
    assert not {"flag", "huge", "list", "train_loss"} & set(runs["odd"]["metrics"])
    assert runs["odd"]["tags"]["not finite"] == "3 values, first train_loss of epoch 1"
    curve = runs["long"]["curve"]
    assert 1_900 < len(curve) < 2_100
    assert curve[0][0] == 1
    assert curve[-1] == [100_000, 1e-5]
    assert runs["long"]["tags"]["epochs written"] == f"{len(curve)} of 100000"


def test_a_large_file_is_named_and_not_copied_where_links_are_impossible(tracked, installation):
    """An external disk in exFAT has no hard links."""
    folder = tracked.ended("large")
    program = (
        "import errno, os, sys\n"
        "def refused(*_args, **_keys): raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))\n"
        "os.link = refused\n"
        "from cbi_queue.tracking import store\n"
        "from pathlib import Path\n"
        "run, target = Path(sys.argv[1]), Path(sys.argv[2])\n"
        "print(store._place(run, 'model.txt', 5, target)); print(store._place(run, 'big.bin', int(sys.argv[3]), target))\n"
    )
    with (folder / "big.bin").open("wb") as stream:
        stream.truncate(COPIED_BYTES + 1)
    target = installation.root / "target"
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder), str(target), str(COPIED_BYTES + 1)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.startswith("\nstays in the run folder: this disk has no hard links")
    assert (target / "model.txt").read_text() == "trees"
    assert not (target / "big.bin").exists()


def test_a_store_that_cannot_be_used_is_told_once_and_nothing_fails(tracked, installation):
    """`status` and `doctor` say it with the remedy; the next tracker that succeeds takes it back."""
    installation.overrides["CBI_TRACKING"] = "on"
    tracked.ended("a-run")
    tracked.store.mkdir(parents=True, exist_ok=True)
    database = tracked.store / "mlflow.db"
    database.write_bytes(b"not a database at all, but long enough to look like one" * 50)
    said = tracked.track(code=1)
    assert "runs are not tracked" in said
    assert "move that file away" in said
    assert "Traceback" not in said
    assert "MLflow: runs are not tracked" in installation.cli("status")
    assert "note tracking: runs are not tracked" in " ".join(installation.doctor().split())
    database.unlink()
    database.symlink_to(installation.root / "elsewhere")
    assert "symbolic link" in tracked.track(code=1)
    database.unlink()
    tracked.track()
    assert "MLflow:" not in installation.cli("status")
    assert set(tracked.runs()) == {"a-run"}


def test_a_locked_store_is_told_and_tried_again(tracked, installation):
    tracked.ended("first")
    tracked.track()
    tracked.ended("second")
    with closing(sqlite3.connect(tracked.store / "mlflow.db")) as conn:
        conn.execute("BEGIN EXCLUSIVE")
        said = tracked.track(code=1)
    assert "database is locked" in said
    assert "another program writes to it" in said
    assert read_state(installation.settings).failure is not None
    tracked.track()
    assert set(tracked.runs()) == {"first", "second"}


def test_without_mlflow_the_verb_says_what_to_install(tracked, installation):
    tracked.ended("a-run")
    (installation.root / "mlflow.py").write_text("raise ImportError('no module of that name')")
    installation.overrides["PYTHONPATH"] = str(installation.root)
    said = tracked.track(code=1)
    assert "MLflow cannot be imported" in said
    assert "pip install 'cbi-queue[tracking]'" in said


def test_two_trackers_never_write_at_once(tracked, installation):
    import fcntl

    tracked.ended("a-run")
    with (installation.settings.state_dir / "tracking.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert "another tracker is writing" in tracked.track(code=1)


def test_mlflow_ui_shows_the_store(tracked, installation):
    """The command that `track` prints, on a free port, with one worker instead of four and none for jobs."""
    import shlex

    tracked.ended("a-run")
    look = json.loads(tracked.track("--json"))["look"]
    port = free_port()
    command = [*shlex.split(look)[:-1], str(port)]
    log = (installation.root / "ui.log").open("wb")
    environ = {**installation.environ, "MLFLOW_WORKERS": "1", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    server = subprocess.Popen(command, env=environ, cwd=installation.root, stdout=log, stderr=log, process_group=0)
    try:
        asked = urllib.request.Request(
            f"http://127.0.0.1:{port}/api/2.0/mlflow/experiments/search",
            data=b'{"max_results": 10}',
            headers={"Content-Type": "application/json"},
        )

        def answer():
            assert server.poll() is None, (installation.root / "ui.log").read_text()[-2000:]
            try:
                with urllib.request.urlopen(asked, timeout=5) as response:
                    return json.load(response)
            except OSError:
                return None

        names = {each["name"] for each in until(answer, "the server answers", 120.0)["experiments"]}
    finally:
        log.close()
        children = psutil.Process(server.pid).children(recursive=True) if server.poll() is None else []
        for process in (server, *children):
            process.terminate()
        psutil.wait_procs(children, 10)
        server.wait(60)
    assert "default 1w" in names


def test_tensorboard_reads_the_event_files(tracked, installation):
    tracked.ended("a-run", 20)
    folder = installation.root / "board"
    assert "1 event file written" in tracked.track("--tensorboard", str(folder))
    assert "no event files written" in tracked.track("--tensorboard", str(folder))
    program = (
        "import json, sys\n"
        "from tensorboard.backend.event_processing.event_accumulator import EventAccumulator\n"
        "read = EventAccumulator(sys.argv[1]); read.Reload()\n"
        "print(json.dumps([[e.step, e.value] for e in read.Scalars('validation_loss')]))\n"
        "print(read.Scalars('backtest/mape_pct')[0].value)\n"
    )
    (run,) = (folder / "default-1w").iterdir()
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, str(run)],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    curve, mape = done.stdout.splitlines()
    assert json.loads(curve) == [[epoch, pytest.approx(1.0 / epoch)] for epoch in range(1, 21)]
    assert float(mape) == 2.5
