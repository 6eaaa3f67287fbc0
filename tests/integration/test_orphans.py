"""What recovery does with a trainer that outlived its daemon, before it settles the row."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING

import psutil
import pytest
from support.ledger_rows import python
from support.waiting import until

from cbi_queue.ledger import queries
from cbi_queue.ledger.claims import record_trainer
from cbi_queue.process_identity import ProcessIdentity
from workers.recovery.recovery import end_orphan
from workers.stop_flag import StopFlag

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

    from support.api_installation import ApiInstallation

SAVES_AND_LEAVES = """
import os, sys
from pathlib import Path
os.setsid()
print("ready", flush=True)
sys.stdin.read()  # ends when the daemon does
Path(sys.argv[1]).write_text("saved")
"""
"""A trainer: a process group of its own, which sees by the end of its pipe that its daemon is gone."""


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """What the orphan writes before it leaves."""
    return tmp_path / "saved"


@pytest.fixture
def orphan(site: ApiInstallation, saved: Path) -> Iterator[subprocess.Popen[str]]:
    """A trainer in the row of the slot, stopped by the kernel; its daemon is gone."""
    site.enqueue({"name": "orphaned"})
    site.start_next()
    child = python(SAVES_AND_LEAVES, saved)
    assert child.stdout
    assert child.stdin
    assert child.stdout.readline() == "ready\n"
    identity = ProcessIdentity.of(child.pid)
    assert identity is not None
    with site.ledger() as ledger:
        attempt = queries.open_attempt(ledger, 1)
        assert attempt is not None
        record_trainer(
            ledger, attempt.id, pid=child.pid, started=identity.started, log_path="/l", run_dir="/r", settings={}
        )
    child.send_signal(signal.SIGSTOP)
    until(lambda: psutil.Process(child.pid).status() == psutil.STATUS_STOPPED, "the orphan is stopped")
    child.stdin.close()
    child.stdin = None
    yield child
    child.kill()
    child.communicate(timeout=60)


def test_a_stopped_orphan_is_continued_so_that_it_can_save_and_leave(
    site: ApiInstallation, orphan: subprocess.Popen[str], saved: Path
) -> None:
    """Killed as it stands, it would lose what it has trained since its last checkpoint."""
    reaper = threading.Thread(target=orphan.wait)  # elsewhere the system reaps it: its parent is gone
    reaper.start()

    end_orphan(site.settings, StopFlag())

    reaper.join(60)
    assert saved.read_text() == "saved"
    assert orphan.returncode == 0
