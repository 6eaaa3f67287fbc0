"""What launchd and systemd answer, and how it is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from cbi_queue.service import launchd, systemd

SAMPLES = Path(__file__).parents[2] / "data" / "launchctl"


@pytest.mark.parametrize(
    ("sample", "wanted"),
    [
        (
            "daemon-running",
            {"state": "running", "pid": "893", "runs": "1", "exit timeout": "5", "type": "LaunchDaemon"},
        ),
        ("agent-running", {"state": "running", "pid": "913", "last exit code": "(never exited)"}),
        ("agent-not-running", {"state": "not running", "runs": "6", "last exit code": "0", "type": "LaunchAgent"}),
        ("agent-crash-loop", {"state": "spawn scheduled", "runs": "18", "last exit code": "78: EX_CONFIG"}),
        ("agent-stopping", {"state": "SIGTERMed", "pid": "913"}),
    ],
)
def test_the_jobs_own_fields_are_read_from_launchctl(sample, wanted):
    """Nested blocks have a `state = active` of something else; only the first level is the job."""
    fields = launchd.parse_print((SAMPLES / f"{sample}.txt").read_text())

    assert fields.items() >= wanted.items()


def test_a_job_that_does_not_run_has_no_pid():
    """A pid of a nested block must not pass for the job's."""
    assert "pid" not in launchd.parse_print((SAMPLES / "agent-not-running.txt").read_text())


def test_an_answer_in_another_form_yields_nothing_rather_than_nonsense():
    """The output is no interface: a new form must read as unknown."""
    assert launchd.parse_print("") == {}
    assert launchd.parse_print("state: running\npid: 5\n") == {}


def test_properties_are_read_from_systemctl():
    """A value may contain an equals sign."""
    text = "LoadState=loaded\nActiveState=active\nSubState=running\nMainPID=1234\nNRestarts=2\nX=a=b\n"

    assert systemd.parse_show(text)["MainPID"] == "1234"
    assert systemd.parse_show(text)["X"] == "a=b"


@pytest.mark.parametrize(
    ("code", "status", "words"), [("0", "0", None), ("1", "75", "75"), ("2", "9", "signal 9"), ("3", "11", "signal 11")]
)
def test_a_running_process_has_no_last_exit_and_a_signal_is_no_exit_code(code, status, words):
    """Systemd shows status 0 for a process that runs, and 9 for SIGKILL as for exit code 9."""
    assert systemd._last_exit({"ExecMainCode": code, "ExecMainStatus": status}) == words


def test_a_label_is_disabled_in_the_words_of_either_release():
    """MacOS 13 and later write `disabled`, earlier ones `true`."""
    text = 'disabled services = {\n\t\t"org.x.on" => enabled\n\t\t"org.x.off" => disabled\n\t\t"org.y" => true\n\t}\n'
    assert launchd.parse_disabled(text) == {"org.x.off", "org.y"}
