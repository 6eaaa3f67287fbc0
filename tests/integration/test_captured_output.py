"""The trainer's log rolls over under its hands: nothing that it printed is lost, from Python or from C."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.waiting import until

from jobs.process.log_rollover import roll_if_large

ROOT = Path(__file__).parents[2]

PRINTER = """
import ctypes, os, sys
from pathlib import Path
from jobs.process.log_rollover import roll_if_large
libc = ctypes.CDLL(None)
log, lines, each = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
for number in range(lines):
    print(f"python {number:06}", flush=True)
    os.write(2, f"write {number:06}\\n".encode())
    libc.puts(f"c {number:06}".encode())
    if number % each == each - 1:
        libc.puts(f"unflushed {number:06}".encode())
        assert roll_if_large(log, 10, 50)
libc.fflush(None)
"""

BACKGROUND = """
import os, sys, threading
from pathlib import Path
from jobs.process.log_rollover import roll_in_background
log = Path(sys.argv[1])
roll_in_background(log, 2_000, 1000, every_s=0.002)
def work(name):
    number = 0
    while not log.with_name(log.name + ".5").exists():
        os.write(1, f"{name} {number:06}\\n".encode())
        number += 1
    log.with_name(name).write_text(str(number))
threads = [threading.Thread(target=work, args=(name,)) for name in "ab"]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""


def run(code, log, *arguments):
    with log.open("ab") as stream:
        done = subprocess.run(
            [sys.executable, "-c", code, str(log), *map(str, arguments)],
            stdout=stream, stderr=subprocess.STDOUT, cwd=ROOT, check=False, timeout=60,
        )  # fmt: skip
    assert done.returncode == 0, everything(log)[-2000:]


def rolled(log):
    """The log's files, oldest first."""
    old = sorted(log.parent.glob(f"{log.name}.[0-9]*"), key=lambda path: -int(path.name.rpartition(".")[2]))
    return [*old, log]


def everything(log):
    return "".join(path.read_text() for path in rolled(log))


def test_everything_printed_over_several_roll_overs_is_there_once_from_python_and_from_c(tmp_path):
    log = tmp_path / "attempt.log"

    run(PRINTER, log, 300, 50)

    assert len(rolled(log)) == 7, "six roll-overs"
    lines = everything(log).splitlines()
    for source in ("python", "write", "c"):
        assert sorted(line for line in lines if line.startswith(f"{source} ")) == [
            f"{source} {n:06}" for n in range(300)
        ]
    assert sorted(line for line in lines if "unflushed" in line) == [f"unflushed {n:06}" for n in range(49, 300, 50)]
    assert len(lines) == 3 * 300 + 6
    for number, path in enumerate(rolled(log)[:-1]):
        unbuffered = [line for line in path.read_text().splitlines() if line.startswith(("python", "write"))]
        wanted = [f"{source} {n:06}" for n in range(50 * number, 50 * number + 50) for source in ("python", "write")]
        assert unbuffered == wanted, "each file holds what was printed while it was the log"


def test_nothing_is_lost_while_threads_print_during_the_switch(tmp_path):
    log = tmp_path / "attempt.log"

    run(BACKGROUND, log)

    log.touch()  # the process may have ended between two renames
    lines = everything(log).splitlines()
    assert len(rolled(log)) >= 5, "five were kept; the last switch may have been cut short between two renames"
    for name in "ab":
        count = int((tmp_path / name).read_text())
        assert [line for line in lines if line.startswith(name)] == [f"{name} {n:06}" for n in range(count)]


@pytest.fixture
def own_output():
    """Give stdout and stderr of this process back after the test."""
    kept = [os.dup(1), os.dup(2)]
    yield
    for number, descriptor in enumerate(kept, 1):
        os.dup2(descriptor, number)
        os.close(descriptor)


@pytest.mark.usefixtures("own_output")
@pytest.mark.parametrize("keep", [0, 1, 3])
def test_only_so_many_old_logs_are_kept_and_the_newest_of_them(tmp_path, keep):
    log = tmp_path / "attempt.log"
    for number in range(5):
        log.write_text(f"{number}" * 100)
        assert roll_if_large(log, 50, keep)

    contents = [path.read_text()[:1] for path in rolled(log)]
    assert contents == [*[str(number) for number in range(5 - keep, 5)], ""]
    assert not list(tmp_path.glob("*.new"))


@pytest.mark.usefixtures("own_output")
def test_a_small_or_missing_log_is_left_alone(tmp_path):
    log = tmp_path / "attempt.log"
    assert not roll_if_large(log, 50, 3)
    log.write_text("x" * 50)

    assert not roll_if_large(log, 50, 3)
    assert [path.name for path in tmp_path.iterdir()] == ["attempt.log"]


@pytest.mark.usefixtures("own_output")
def test_a_roll_over_that_cannot_make_the_new_file_leaves_the_log_where_it_is(tmp_path):
    """Output must go on to the file that people look at, not to one that is being forgotten."""
    log = tmp_path / "attempt.log"
    log.write_text("x" * 100)
    (tmp_path / "attempt.log.new").mkdir()

    with pytest.raises(OSError, match="folder"):
        roll_if_large(log, 50, 3)

    assert log.read_text() == "x" * 100
    assert not (tmp_path / "attempt.log.1").exists()


def test_a_watcher_survives_a_disk_that_fails_for_a_while(tmp_path):
    log = tmp_path / "attempt.log"
    code = """
import os, sys
from pathlib import Path
from jobs.process.log_rollover import roll_in_background
log = Path(sys.argv[1])
blocked = log.with_name(log.name + ".new"); blocked.mkdir()
roll_in_background(log, 100, 3, every_s=0.005)
os.write(1, b"x" * 200)
sys.stdin.readline()
blocked.rmdir()
sys.stdin.readline()
"""
    with log.open("ab") as stream:
        child = subprocess.Popen(
            [sys.executable, "-c", code, str(log)], stdin=subprocess.PIPE, stdout=stream, stderr=stream, cwd=ROOT
        )
    until(lambda: log.stat().st_size >= 200, "the log is large")
    child.stdin.write(b"free\n")
    child.stdin.flush()

    until((tmp_path / "attempt.log.1").exists, "the roll-over after the disk works again")

    child.communicate(b"end\n", timeout=60)
    assert (tmp_path / "attempt.log.1").read_text() == "x" * 200
