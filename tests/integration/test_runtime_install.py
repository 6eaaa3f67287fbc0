"""`cbi-queue runtime`: a runtime is complete or absent. A script takes the place of Python and pip; the command is real."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.command_installation import Home
from support.ledger_rows import NET, add
from support.waiting import until

import cbi_queue
from cbi_queue.ledger.claims import claim, record_trainer
from cbi_queue.runtimes.install import remove
from cbi_queue.runtimes.own_code import put_own_code, source_tree

FAKE = Path(__file__).parents[1] / "data" / "fake_python.py"
PLAN = """
day: 1
defaults: {backend: tensorflow}
jobs:
  - {name: first, family: simple_neural, model: lstm, horizon: 1w}
  - {name: second, family: simple_neural, model: feed_forward, horizon: 1w}
"""


@pytest.fixture
def home(tmp_path) -> Home:
    """An empty home, its feature cache in place."""
    made = Home(tmp_path)
    fake = tmp_path / "fake-python"
    fake.write_text(f"#!{sys.executable}\n{FAKE.read_text()}")
    fake.chmod(0o755)
    (tmp_path / "config.toml").touch()
    made.settings.make_layout()
    (made.settings.processed_dir / "1w_features.parquet").touch()
    return made


@pytest.fixture
def calls(tmp_path):
    """The commands of the fake Python so far."""
    log = tmp_path / "calls.jsonl"

    def read() -> list[str]:
        lines = log.read_text().splitlines() if log.exists() else []
        return [" ".join(json.loads(line)[:3]) for line in lines]

    return read


def install(home: Home, *options: str, code: int = 0, **environ: str) -> str:
    log = {"FAKE_LOG": str(home.root / "calls.jsonl")}
    return home.run(
        "runtime",
        "install",
        "tensorflow",
        "--python",
        str(home.root / "fake-python"),
        *options,
        code=code,
        **log,
        **environ,
    )


def left(home: Home) -> set[str]:
    folder = home.settings.runtimes_dir
    return {path.name for path in folder.iterdir()} - {".lock"} if folder.exists() else set()


def test_an_installed_runtime_trains_its_backend_without_a_setting(home):
    words = install(home)

    interpreter = home.settings.runtimes_dir / "tensorflow" / "bin" / "python"
    assert home.settings.interpreter_for("tensorflow") == str(interpreter)
    assert home.settings.interpreter_for("torch") == sys.executable
    assert left(home) == {"tensorflow"}
    assert [line[:3] for line in words.splitlines() if line[1:3] == "/4"] == ["1/4", "2/4", "3/4", "4/4"]
    (listed,) = [row for row in home.json("runtime", "list") if row["backend"] == "tensorflow"]
    assert (listed["origin"], listed["record"]["python"]) == ("installed", "3.12")


def test_a_setting_stands_above_an_installed_runtime(home):
    install(home)
    (home.root / "config.toml").write_text('[runtimes]\ntensorflow = "/opt/tf/bin/python"\n')

    assert home.settings.interpreter_for("tensorflow") == "/opt/tf/bin/python"


def test_the_runtime_sees_this_code(home):
    install(home)

    (pth,) = (home.settings.runtimes_dir / "tensorflow").glob("lib/python*/site-packages/*.pth")
    assert pth.read_text().strip() == str(source_tree())


def test_installing_again_fetches_nothing(home, calls):
    install(home)
    assert "nothing changed" in install(home)

    assert calls().count("-m pip install") == 1


def test_another_python_rebuilds_it(home, calls):
    install(home)
    install(home, FAKE_VERSION="3 11")

    assert calls().count("-m pip install") == 2
    assert left(home) == {"tensorflow"}


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"FAKE_PIP": "1"}, "failed with exit code 1 (its output is above); nothing was installed"),
        ({"FAKE_TRIAL": "Symbol not found: _TF_GetInputByName"}, "cannot train: Symbol not found: _TF_GetInputByName"),
    ],
)
def test_a_failure_leaves_nothing_behind(home, environ, words):
    assert words in install(home, code=1, **environ)

    assert left(home) == set()
    assert home.settings.interpreter_for("tensorflow") == sys.executable


def test_a_failure_leaves_the_runtime_that_was_there(home):
    install(home)
    install(home, code=1, FAKE_VERSION="3 11", FAKE_PIP="1")

    assert left(home) == {"tensorflow"}
    assert [row["record"]["python"] for row in home.json("runtime", "list") if row["record"]] == ["3.12"]


def test_an_interrupted_installation_leaves_nothing_behind(home, calls):
    log = str(home.root / "calls.jsonl")
    child = home.start(
        "runtime", "install", "tensorflow", "--python", str(home.root / "fake-python"), FAKE_LOG=log, FAKE_PIP="hang"
    )
    until(lambda: "-m pip install" in calls(), "pip is at work")
    child.send_signal(signal.SIGINT)
    child.communicate(timeout=60)

    assert child.returncode != 0
    assert left(home) == set()


def test_what_a_killed_installation_left_is_taken_away_by_the_next(home, calls):
    runtimes = home.settings.runtimes_dir
    leftover = runtimes / ".tensorflow-building"
    leftover.mkdir(parents=True)
    (leftover / "half").touch()
    install(home)
    assert left(home) == {"tensorflow"}

    (runtimes / "tensorflow").rename(runtimes / ".tensorflow-old")  # killed before the new one came in its place
    assert "nothing changed" in install(home)
    assert left(home) == {"tensorflow"}
    assert calls().count("-m pip install") == 1


def test_a_python_that_is_too_new_is_refused_with_what_is_allowed(home, calls):
    words = install(home, code=2, FAKE_VERSION="3 14")

    assert "is Python 3.14" in words
    assert "need Python 3.11 or 3.12" in words
    assert calls() == ["-c import sys; print(*sys.version_info[:2])"]


def test_what_is_no_python_is_refused(home):
    assert "did not run as a Python" in home.run("runtime", "install", "tensorflow", "--python", "/bin/false", code=2)


def test_a_dry_run_prints_the_commands_and_changes_nothing(home, calls):
    printed = install(home, "--dry-run")

    assert "-m venv" in printed
    assert "tensorflow-linux.txt" in printed or "tensorflow-macos.txt" in printed
    assert not home.settings.runtimes_dir.exists()
    assert calls() == ["-c import sys; print(*sys.version_info[:2])"]


def test_two_installations_do_not_meet(home):
    home.settings.runtimes_dir.mkdir(parents=True)
    with (home.settings.runtimes_dir / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "another `runtime install` is running" in install(home, code=2)


def test_a_runtime_is_not_replaced_under_a_running_trainer(home):
    install(home)
    with home.ledger() as ledger:
        number = add(ledger, "keras-1w", **{**NET, "backend": "tensorflow"})
        attempt = claim(ledger, number)
        record_trainer(ledger, attempt.id, pid=1, started=0.0, log_path="/log", run_dir="/run", settings={})

    assert "is training on the tensorflow runtime" in home.run("runtime", "remove", "tensorflow", code=2)
    assert "is training on the tensorflow runtime" in install(home, code=2)
    assert left(home) == {"tensorflow"}


def test_a_removed_runtime_is_gone(home, monkeypatch):
    install(home)
    deleted = []
    monkeypatch.setattr(shutil, "rmtree", lambda folder, **_: deleted.append(folder.name))
    assert remove(home.settings, "tensorflow")
    assert left(home) == {".tensorflow-building"} <= set(deleted), "a kill while it is deleted leaves no runtime"
    monkeypatch.undo()
    install(home)

    assert "Removed" in home.run("runtime", "remove", "tensorflow")
    assert left(home) == set()
    assert "nothing changed" in home.run("runtime", "remove", "tensorflow")


def test_a_check_tells_what_is_wrong_and_fails(home):
    install(home)
    log = str(home.root / "calls.jsonl")

    assert "works on /device:CPU:0" in home.run("runtime", "check", FAKE_LOG=log)
    assert "no Metal" in home.run("runtime", "check", code=1, FAKE_LOG=log, FAKE_TRIAL="no Metal")


def test_jobs_without_a_runtime_are_refused_with_the_remedy(home):
    (home.root / "plan.yaml").write_text(PLAN)

    note = home.run("plan", "check", "plan.yaml")
    refused = home.run("enqueue", "plan.yaml", code=2)

    for words in (note, refused):
        assert "first and 1 more need the tensorflow runtime" in words
        assert "`cbi-queue runtime install tensorflow`" in words
    assert home.json("list") == []
    install(home)
    assert "Enqueued 2 jobs" in home.run("enqueue", "plan.yaml")


def test_a_copy_of_the_code_is_enough_to_run_a_trainer(tmp_path):
    """As from an installed package, where there is no source tree."""
    site, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in ("cbi_queue", "jobs"):
        shutil.copytree(Path(cbi_queue.__file__).parents[1] / name, elsewhere / name)
    site.mkdir()
    put = "import sys; from pathlib import Path; from cbi_queue.runtimes.own_code import put_own_code as put; "
    code = put + "site = Path(sys.argv[1]); assert put(site) is None; assert put(site) is None"
    python(code, site, path=elsewhere)

    seen = python(
        "import jobs.session, importlib.metadata as m; print(jobs.__path__[0], m.version('cbi-queue'))", path=site
    )

    assert seen.split() == [str(site / "jobs"), cbi_queue.__version__]
    put_own_code(site)
    assert {path.name for path in site.iterdir()} == {
        "cbi-queue-source.pth",
        f"cbi_queue-{cbi_queue.__version__}.dist-info",
    }


def python(code: str, *arguments: object, path: Path) -> str:
    """Run *code* on this Python with *path* before everything else."""
    command = [sys.executable, "-P", "-c", code, *map(str, arguments)]
    environ = {**os.environ, "PYTHONPATH": str(path)}
    return subprocess.run(command, env=environ, cwd=path, capture_output=True, text=True, check=True).stdout


def test_a_job_on_a_python_without_tensorflow_fails_at_once_and_says_what_to_do(installation):
    """Enqueued behind the command's back: no retry is burnt on what no retry can mend."""
    net = {"name": "keras-1w", "family": "simple_neural", "model": "lstm", "horizon": "1w", "backend": "tensorflow"}
    (number,) = installation.enqueue({**net, "retries": 3})
    installation.start_daemon()

    installation.until_state(number, "failed")

    assert [attempt.number for attempt in installation.attempts(number)] == [1]
    told = " ".join(installation.cli("show", "keras-1w").split())
    assert "cannot import TensorFlow" in told
    assert "cbi-queue runtime install tensorflow" in told
