"""A complete run folder is believed only with the signature of the ledger, job, attempt and spec that it is read for."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from support.ledger_rows import add

from cbi_queue.artifacts import Manifest, complete_folder, reopen_folder, run_dir_for, write_json
from cbi_queue.ledger import queries
from cbi_queue.ledger.claims import claim, record_trainer
from cbi_queue.ledger.settlement import requeue
from cbi_queue.lifecycle import JobState, Outcome, Reason
from cbi_queue.models.kinds import BARS
from workers.recovery.recovery import settle_leftovers
from workers.slot.settling import signed_manifest
from workers.slot.slot import Slot

if TYPE_CHECKING:
    from pathlib import Path

    from support.scripted_slot import ScriptedSlot

    from cbi_queue.ledger import JobRow, Ledger

OF_OTHERS = {"ledger": {"ledger_id": "another"}, "job": {"job_id": 4711}, "attempt": {"attempt": 7}}
"""What the signature of another attempt differs in, each alone."""
OF_ANOTHER_SPEC = {"identity": "f" * 64}
every_part = pytest.mark.parametrize("foreign", [*OF_OTHERS.values(), OF_ANOTHER_SPEC], ids=[*OF_OTHERS, "spec"])


@pytest.fixture
def job(ledger: Ledger) -> JobRow:
    """A job whose first attempt was interrupted, as far as the ledger knows; its second is in the slot."""
    number = add(ledger)
    claim(ledger, number)
    requeue(ledger, number, Outcome.INTERRUPTED, Reason.DAEMON_DIED)
    claim(ledger, number)
    return queries.find_job(ledger, str(number))


def complete(folder: Path, ledger: Ledger, job: JobRow, number: int, **foreign: str | int) -> Manifest:
    """Fill a run folder as the trainer of attempt *number* does, but for what is *foreign* in its signature."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    reopen_folder(folder)
    write_json(folder / "metrics.json", {"skill": 0.1})
    signature = Manifest(ledger.ledger_id, job.id, number, job.identity, metrics={"skill": 0.1})
    return complete_folder(folder, replace(signature, **foreign))


def test_a_manifest_that_this_attempt_signed_is_believed(tmp_path: Path, ledger: Ledger, job: JobRow) -> None:
    written = complete(tmp_path / "run", ledger, job, 2)
    assert signed_manifest(tmp_path / "run", ledger.ledger_id, job.id, 2) == (written, "")


@pytest.mark.parametrize("foreign", OF_OTHERS.values(), ids=OF_OTHERS)
def test_a_manifest_of_another_attempt_is_not_believed(
    tmp_path: Path, ledger: Ledger, job: JobRow, foreign: dict[str, str | int]
) -> None:
    complete(tmp_path / "run", ledger, job, 2, **foreign)
    manifest, fault = signed_manifest(tmp_path / "run", ledger.ledger_id, job.id, 2)
    assert manifest is None
    assert "another attempt" in fault


@pytest.fixture
def found(slot: ScriptedSlot, job: JobRow) -> tuple[Slot, Path]:
    """A real slot, and the folder in which it looks for what an earlier attempt of the job had completed."""
    folder = run_dir_for(
        slot.settings.models, model=job.model, horizon=job.horizon, name=job.name, identity=job.identity, bars=BARS
    )
    return Slot(slot.settings, slot.telemetry, -1, slot.slot_governor), folder


def test_a_folder_that_an_interrupted_attempt_completed_settles_the_job(
    found: tuple[Slot, Path], ledger: Ledger, job: JobRow
) -> None:
    real_slot, folder = found
    complete(folder, ledger, job, 1)

    assert real_slot._settle_found(ledger, job, folder)

    settled = queries.find_job(ledger, str(job.id))
    assert (settled.state, settled.reason, settled.metrics) == (JobState.SUCCEEDED, "found_finished", {"skill": 0.1})


@every_part
def test_a_foreign_folder_settles_no_job_before_it_is_trained(
    found: tuple[Slot, Path], ledger: Ledger, job: JobRow, foreign: dict[str, str | int]
) -> None:
    """Its numbers would stand in the leaderboard under this job's name, and the job would never be trained."""
    real_slot, folder = found
    complete(folder, ledger, job, 1, **foreign)

    assert not real_slot._settle_found(ledger, job, folder)
    assert queries.find_job(ledger, str(job.id)).state is JobState.RUNNING


@pytest.mark.parametrize("foreign", OF_OTHERS.values(), ids=OF_OTHERS)
def test_a_foreign_folder_settles_no_job_at_boot(
    slot: ScriptedSlot, ledger: Ledger, job: JobRow, tmp_path: Path, foreign: dict[str, str | int]
) -> None:
    attempt = queries.open_attempt(ledger, job.id)
    assert attempt is not None
    record_trainer(
        ledger, attempt.id, pid=2**22 + 1, started=1.0, log_path="/l", run_dir=str(tmp_path / "run"), settings={}
    )
    complete(tmp_path / "run", ledger, job, attempt.number, **foreign)

    settle_leftovers(slot.settings, ledger)

    assert queries.find_job(ledger, str(job.id)).state is JobState.QUEUED
    assert queries.attempts_of(ledger, job.id)[-1].outcome is Outcome.INTERRUPTED
