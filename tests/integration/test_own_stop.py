"""A trainer that the slot itself stopped, seen by the sensor that watches its processes."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import psutil
import pytest
from support.waiting import until

from cbi_queue import clock
from workers.trainer.trainer_process import TrainerProcess, TrainerSetup

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def trainer(tmp_path: Path) -> Iterator[TrainerProcess]:
    """A real process that does nothing."""
    script = tmp_path / "idle"
    script.write_text(f"#!{sys.executable}\nimport time\ntime.sleep(600)\n")
    script.chmod(0o755)
    lock = os.open(tmp_path / "slot.lock", os.O_RDWR | os.O_CREAT)
    process = TrainerProcess(TrainerSetup(str(script), 1, tmp_path / "log", tmp_path, lock))
    os.close(lock)
    yield process
    process.kill()
    process.wait(60)
    process.close()


@pytest.mark.process
def test_a_look_from_before_the_slot_woke_its_trainer_may_have_seen_its_own_stop(trainer: TrainerProcess) -> None:
    """A reading is up to some seconds old when the governor gets it; one from after the waking is somebody else's."""
    seen = psutil.Process(trainer.identity.pid)
    before_s = clock.boot_s()
    assert not trainer.was_stopped_by_us(before_s)

    trainer.suspend()
    until(lambda: seen.status() == psutil.STATUS_STOPPED, "it is stopped")
    stopped_s = clock.boot_s()
    assert trainer.was_stopped_by_us(stopped_s)

    trainer.resume()
    until(lambda: seen.status() != psutil.STATUS_STOPPED, "it moves again")
    assert trainer.was_stopped_by_us(stopped_s)
    assert not trainer.was_stopped_by_us(clock.boot_s())
