"""A real trainer process reports how it ended, whatever state its log and its spec are in."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from support.ledger_rows import spec

from cbi_queue.protocol import Assignment, Begin, ExitCode, Failed, Hello, Stopped, decode_report, encode


def run_trainer(tmp_path, content, *, log=None, order=True):
    """Run `python -m jobs` on an assignment; return its reports and its exit code."""
    (tmp_path / "run").mkdir(exist_ok=True)
    assignment = Assignment(
        1,
        1,
        "ledger",
        "identity",
        content,
        str(tmp_path / "run"),
        str(tmp_path / "exports"),
        str(tmp_path / "processed"),
    )
    read, write = os.pipe()
    with open(log or os.devnull, "wb") as output:  # noqa: PTH123 - a device
        trainer = subprocess.Popen(
            [sys.executable, "-P", "-m", "jobs", "--report-fd", str(write)],
            stdin=subprocess.PIPE, stdout=output, stderr=output, pass_fds=(write,), cwd=tmp_path,
        )  # fmt: skip
    os.close(write)
    if order:
        trainer.stdin.write(encode(Begin(assignment)))
        trainer.stdin.flush()
    else:
        trainer.stdin.close()
    with os.fdopen(read, "rb") as lines:
        reports = [decode_report(line) for line in lines]
    code = trainer.wait(60)
    trainer.stdin.close()
    return reports, code


GOOD = spec().model_dump(mode="json")


@pytest.mark.parametrize(
    "content",
    [
        {},
        {**GOOD, "model": "not_made_yet"},
        {**GOOD, "params": {**GOOD["params"], "surprise": 1}},
        {**GOOD, "horizon": "2w"},
    ],
    ids=["nothing", "model", "params", "horizon"],
)
def test_a_spec_that_this_runtime_cannot_read_is_broken_and_not_worth_a_retry(tmp_path, content):
    """The trainer's runtime may hold another version of cbi-queue than the one that planned the job."""
    reports, code = run_trainer(tmp_path, content)

    assert [type(report) for report in reports] == [Hello, Failed]
    assert reports[1].kind == "broken_spec"
    assert "this runtime" in reports[1].error
    assert code == ExitCode.BROKEN_SPEC


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full, a Linux device")  # noqa: PTH110
def test_a_failure_is_told_also_when_the_log_is_on_a_full_disk(tmp_path):
    """The report of the failure must not depend on the traceback that goes before it."""
    reports, code = run_trainer(tmp_path, {}, log="/dev/full")

    assert isinstance(reports[-1], Failed)
    assert code == ExitCode.BROKEN_SPEC


def test_a_job_without_its_input_fails_in_words_and_leaves_no_complete_folder(tmp_path):
    reports, code = run_trainer(tmp_path, GOOD)

    assert isinstance(reports[-1], Failed)
    assert reports[-1].error
    assert code in {ExitCode.ERROR, ExitCode.BROKEN_SPEC}
    assert not (tmp_path / "run" / "manifest.json").exists()


def test_a_trainer_whose_daemon_died_before_the_assignment_leaves_without_a_trace(tmp_path):
    reports, code = run_trainer(tmp_path, GOOD, order=False)

    assert not [report for report in reports if not isinstance(report, (Hello, Stopped))]
    assert code == ExitCode.STOPPED
    assert list((tmp_path / "run").iterdir()) == []


@pytest.mark.process
def test_the_peak_of_a_trainer_counts_the_memory_of_a_child_that_worked_for_it(tmp_path):
    """An export works in a child: its trainer alone is small."""
    script = tmp_path / "peak.py"
    script.write_text(
        "import subprocess, sys\nfrom jobs.session import peak_rss_mib\n"
        "subprocess.run([sys.executable, '-c', 'bytearray(b\"x\" * (300 << 20))'], check=True)\nprint(peak_rss_mib())\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True, timeout=60)
    assert float(done.stdout) > 300


def test_a_trainer_is_not_taken_apart_at_its_end(tmp_path, monkeypatch):
    """That takes half a second with the libraries of a net. Its thread that reads directives still lives."""
    monkeypatch.setenv("PYTHONVERBOSE", "1")
    _, code = run_trainer(tmp_path, {}, log=tmp_path / "log")

    said = (tmp_path / "log").read_text(errors="replace")
    assert code == ExitCode.BROKEN_SPEC
    assert "import 'jobs.session'" in said
    assert "# cleanup" not in said


def test_what_was_registered_for_the_end_happens_and_a_thread_that_works_is_waited_for():
    code = (
        "import atexit, threading, time\n"
        "from cbi_queue.standard_streams import leave\n"
        "atexit.register(print, 'registered')\n"
        "threading.Thread(target=lambda: (time.sleep(0.1), print('worked'))).start()\n"
        "leave(3)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (3, "worked\nregistered\n")
