"""`cbi-queue service` from end to end: files, the exact commands, and the installed definitions run for real."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from typing import TYPE_CHECKING

import pytest
from support.service_installation import (
    FILES,
    LAUNCHCTL,
    NO_BUS,
    PATIENCE_S,
    SYSTEMCTL,
    Home,
    Supervisor,
    job_from_plist,
    job_from_unit,
    supervised,
)

from cbi_queue.slot_lock import SlotLock, is_slot_taken

if TYPE_CHECKING:
    from collections.abc import Callable

STOP_BUDGET_S = 45.0
"""What the daemon allows itself to stop; both managers kill after 60 s."""


@pytest.fixture
def home(tmp_path) -> Home:
    return Home(tmp_path)


@pytest.mark.parametrize("manager", FILES)
def test_install_and_uninstall_leave_only_what_is_not_ours(home, manager):
    """Both verbs may be repeated; the queue and a neighbour's service file survive."""
    worker, api = home.files(manager)

    first = home.service("install", "--no-start", "--manager", manager)
    again = home.service("install", "--no-start", "--manager", manager)

    assert first.returncode == again.returncode == 0, first.stderr
    assert first.stdout.splitlines() == [f"wrote {worker}", f"wrote {api}"]
    assert again.stdout.splitlines() == [f"unchanged {worker}", f"unchanged {api}"]
    assert home.commands == []

    neighbour, ledger = worker.parent / "org.other.plist", home.state_dir / "ledger.db"
    neighbour.touch()
    ledger.touch()
    home.put_program("launchctl", LAUNCHCTL)
    home.put_program("systemctl", SYSTEMCTL)
    removed = home.service("uninstall", "--manager", manager)
    nothing = home.service("uninstall", "--manager", manager)

    assert removed.stdout.splitlines() == [f"removed {worker}", f"removed {api}"]
    assert nothing.stdout.splitlines() == ["there was no service file; nothing changed"]
    assert list(worker.parent.iterdir()) == [neighbour]
    assert ledger.exists()


@pytest.mark.parametrize("manager", FILES)
def test_a_dry_run_shows_everything_and_does_nothing(home, manager):
    """What is printed is what would be written: the file's own bytes."""
    shown = home.service("install", "--dry-run", "--only", "worker", "--manager", manager)
    assert list(home.path.iterdir()) == []

    home.service("install", "--no-start", "--only", "worker", "--manager", manager)
    worker, api = home.files(manager)

    assert worker.read_text() in shown.stdout
    assert not api.exists()
    assert "# would run: " in shown.stdout


def test_launchd_loads_a_first_install(home):
    """Enable comes first: a label that was ever disabled cannot be loaded."""
    home.put_program("launchctl", LAUNCHCTL)
    target, plist = f"gui/{os.getuid()}/org.cbi-queue.worker", home.files("launchd")[0]

    done = home.service("install", "--only", "worker", "--manager", "launchd")

    assert done.returncode == 0, done.stderr
    assert _without_queries(home.commands) == [
        f"launchctl enable {target}",
        f"launchctl bootstrap gui/{os.getuid()} {plist}",
        f"launchctl kickstart {target}",
    ]


def test_launchd_ends_the_old_instance_and_waits_for_its_label(home):
    """Bootout returns early, and a bootstrap while the label is held fails with 5."""
    home.put_program("launchctl", LAUNCHCTL)
    target = f"gui/{os.getuid()}/org.cbi-queue.api"
    bootstrap = f"launchctl bootstrap gui/{os.getuid()} {home.files('launchd')[1]}"
    (home.path / "loaded-org.cbi-queue.api").touch()
    (home.path / "held").touch()

    done = home.service("install", "--only", "api", "--manager", "launchd")

    assert done.returncode == 0, done.stderr
    assert home.commands[:3] == [
        f"launchctl print {target}",
        f"launchctl bootout {target}",
        f"launchctl print {target}",
    ]
    assert _without_queries(home.commands)[1:] == [
        f"launchctl enable {target}",
        bootstrap,
        bootstrap,
        f"launchctl kickstart {target}",
    ]


def test_launchd_restarts_with_sigterm_before_any_kill(home):
    """Kickstart -k alone is a SIGKILL: the trainer would lose what it learned since its checkpoint."""
    home.put_program("launchctl", LAUNCHCTL)
    target = f"gui/{os.getuid()}/org.cbi-queue.worker"
    (home.path / "loaded-org.cbi-queue.worker").touch()

    done = home.service("restart", "--only", "worker", "--manager", "launchd")

    assert done.returncode == 0, done.stderr
    assert _without_queries(home.commands) == [f"launchctl kill SIGTERM {target}", f"launchctl kickstart -k {target}"]


def test_launchd_waits_for_an_old_instance_that_takes_its_time(home):
    """Code 36 of bootout means that it is on its way."""
    home.put_program("launchctl", LAUNCHCTL)
    (home.path / "loaded-org.cbi-queue.worker").touch()
    (home.path / "slow").touch()

    done = home.service("install", "--only", "worker", "--manager", "launchd")

    assert done.returncode == 0, done.stderr
    assert (home.path / "loaded-org.cbi-queue.worker").exists()


def test_an_agent_switched_off_in_login_items_is_called_that(home):
    """Enable does not bring it back, and launchd's own words are `5: Input/output error`."""
    home.put_program("launchctl", LAUNCHCTL)
    (home.path / "off").touch()

    done = home.service("install", "--only", "worker", "--manager", "launchd")

    assert done.returncode == 1
    assert "switched off in Login Items" in done.stderr
    assert "System Settings, General, Login Items" in done.stderr
    assert "worker: switched off" in home.service("status", "--manager", "launchd").stdout


def test_restarting_what_is_not_loaded_says_so(home):
    """A restart that started nothing must not report success."""
    home.put_program("launchctl", LAUNCHCTL)

    done = home.service("restart", "--manager", "launchd")

    assert done.returncode == 1
    assert "not loaded" in done.stderr
    assert "cbi-queue service install" in done.stderr


def test_systemd_reads_enables_and_restarts_what_ran(home):
    """`enable --now` leaves a running unit alone, so its old file would stay in use."""
    home.put_program("systemctl", SYSTEMCTL)

    done = home.service("install", "--only", "worker", "--manager", "systemd")

    assert done.returncode == 0, done.stderr
    assert _without_queries(home.commands) == [
        "systemctl --user daemon-reload",
        "systemctl --user enable --now cbi-queue-worker.service",
        "systemctl --user restart cbi-queue-worker.service",
    ]


def test_systemd_stops_before_the_file_goes(home):
    """Disable needs the unit file to find the links it made."""
    home.put_program("systemctl", SYSTEMCTL)
    home.service("install", "--no-start", "--manager", "systemd")

    done = home.service("uninstall", "--manager", "systemd")

    assert done.returncode == 0, done.stderr
    assert _without_queries(home.commands) == [
        "systemctl --user disable --now cbi-queue-worker.service cbi-queue-api.service",
        "systemctl --user daemon-reload",
    ]


def test_without_a_user_systemd_the_files_are_written_and_the_reason_is_said(home):
    """In a container or a bare ssh session nothing supervises; the person must know, and know what to do."""
    home.put_program("systemctl", NO_BUS)

    done = home.service("install", "--manager", "systemd")

    assert done.returncode == 1
    assert all(file.exists() for file in home.files("systemd"))
    assert "no user systemd answers (Failed to connect to bus: No medium found)" in done.stderr
    assert f"{sys.executable} -m cbi_queue.cli worker" in done.stderr
    assert home.service("uninstall", "--manager", "systemd").returncode == 0
    assert not any(file.exists() for file in home.files("systemd"))


def test_status_tells_running_from_unknown_and_notices_changed_settings(home):
    """A manager that does not answer is not a service that is down."""
    home.put_program("systemctl", SYSTEMCTL)
    home.service("install", "--no-start", "--only", "worker", "--manager", "systemd")
    (running,) = json.loads(home.service("status", "--json", "--only", "worker", "--manager", "systemd").stdout)
    home.put_program("systemctl", NO_BUS)
    home.files("systemd")[0].write_text("[Service]\n")
    (unknown,) = json.loads(home.service("status", "--json", "--only", "worker", "--manager", "systemd").stdout)

    assert (running["state"], running["pid"], running["restarts"]) == ("active (running)", 7, 3)
    assert running["last_exit"] is None
    assert (running["installed"], running["current"], running["loaded"]) == (True, True, True)
    assert (unknown["installed"], unknown["current"], unknown["loaded"]) == (True, False, None)
    assert unknown["state"].startswith("unknown: Failed to connect")


def test_installing_beside_a_daemon_in_a_terminal_says_why_nothing_will_train(home):
    """Both managers report a start; only the slot knows that the new worker ends at once with 75."""
    home.put_program("launchctl", LAUNCHCTL)
    home.state_dir.mkdir()
    lock = SlotLock(home.state_dir / "slot.lock")
    assert lock.try_acquire()

    done = home.service("install", "--only", "worker", "--manager", "launchd")
    lock.release()

    assert done.returncode == 0
    assert f"the daemon with pid {os.getpid()} holds the slot" in done.stderr


def _without_queries(commands: list[str]) -> list[str]:
    queries = (" print ", " print-disabled ", " show ", " show-environment")
    return [command for command in commands if not any(query in command for query in queries)]


def await_until(condition: Callable[[], bool], what: str, patience_s: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + patience_s
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"waited {patience_s:g} s for: {what}")
        time.sleep(0.05)


@pytest.mark.parametrize(("manager", "read"), [("launchd", job_from_plist), ("systemd", job_from_unit)])
def test_the_installed_worker_comes_up_survives_a_kill_and_stays_down_when_told_to(home, manager, read):
    """The definition is run for real, with exactly its own environment: no shell, no inherited variable, no PATH."""
    home.service("install", "--no-start", "--only", "worker", "--manager", manager)
    output, log, lock = home.path / "output", home.state_dir / "daemon.log", home.state_dir / "slot.lock"

    def is_ready(supervisor: Supervisor, start: int) -> bool:
        if len(supervisor.processes) < start or not log.exists():
            return False
        return f"pid={supervisor.processes[start - 1].pid} event=daemon.ready" in log.read_text()

    with supervised(read(home.files(manager)[0]), output) as (supervisor, thread):
        await_until(lambda: is_ready(supervisor, 1), "the daemon is ready")
        assert is_slot_taken(lock)

        supervisor.processes[0].send_signal(signal.SIGKILL)
        await_until(lambda: is_ready(supervisor, 2), "the daemon is ready again after SIGKILL")
        assert is_slot_taken(lock)

        supervisor.processes[1].send_signal(signal.SIGTERM)
        await_until(lambda: not thread.is_alive(), "the daemon ends after SIGTERM", STOP_BUDGET_S)

    assert supervisor.exit_codes == [-signal.SIGKILL, 0]
    assert not is_slot_taken(lock)
    assert (home.path / "my repo" / "Models" / "local").is_dir()
    if manager == "launchd":
        assert output.read_text() == "", "launchd's own log files are for crashes only"
