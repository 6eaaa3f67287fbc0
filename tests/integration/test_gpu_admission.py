"""A GPU that other programs use: seen before the claim, told by name, waited for or shared as the user set it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support.installation import NAIVE, NET
from support.sensor_samples import FakeNvml

from cbi_queue import clock
from cbi_queue.hardware import PROFILES
from cbi_queue.ledger import Ledger, claims, queries
from cbi_queue.ledger.enqueue import enqueue
from cbi_queue.readings.values import GpuReading, MemoryReading, PressureLevel, Unknown
from cbi_queue.spec import DayPlan, JobSpec
from workers.sensors.answers import NOT_ASKED
from workers.sensors.nvidia_gpu.sensors import Nvidia
from workers.slot.admission import RECHECK_S, Admission

if TYPE_CHECKING:
    from pathlib import Path

    from cbi_queue.hardware import HardwareProfile

CUDA = PROFILES["cuda"].fitted(100_000, 80_000)
ROOM = MemoryReading(1e12, "a test", level=PressureLevel.NORMAL, available_mib=50_000.0)


@pytest.fixture
def ledger(ledger: Ledger) -> Ledger:
    """A ledger with a net and a model that never trains on a GPU."""
    jobs = ({**NET, "name": "net", "priority": 5}, {**NAIVE, "name": "baseline"})
    enqueue(ledger, [DayPlan(day=1, source="test", jobs=tuple(JobSpec.model_validate({"day": 1, **j}) for j in jobs))])
    return ledger


def holding(**gib: float) -> GpuReading:
    """What NVML says of a card on which programs of these names hold so many GiB; read just now."""
    lib = FakeNvml()
    lib.processes = {pid: (f"/usr/bin/{name}", int(size * 2**30)) for pid, (name, size) in enumerate(gib.items(), 4711)}
    reading = Nvidia(lib, {}).read(clock.boot_s())
    assert isinstance(reading, GpuReading)
    return reading


def admits(ledger: Ledger, folder: Path, gpu: Any, profile: HardwareProfile = CUDA, **more: Any) -> bool:
    return Admission(profile, folder, **more).admit(ledger, queries.find_job(ledger, "net"), ROOM, gpu=gpu)


def told(ledger: Ledger) -> list[tuple[str, str | None]]:
    job = queries.find_job(ledger, "net")
    return [(row.event, row.words) for row in queries.events_of(ledger, job.id)][1:]


def test_a_net_waits_for_the_program_that_holds_the_gpu_and_others_go_first(ledger: Ledger, feature_dir: Path) -> None:
    """By name, once, and checked again soon; what needs no GPU is not kept."""
    for _ in range(2):
        assert not admits(ledger, feature_dir, holding(blender=9.0))
    (waits,) = told(ledger)
    assert waits[0] == "waits"
    assert "waits for memory of the GPU: blender (process 4711): 9.0 GiB" in (waits[1] or "")
    assert "foreign_gpu = beside" in (waits[1] or "")
    job = queries.find_job(ledger, "net")
    assert job.reason == "gpu_taken"
    assert 0 < (job.not_before or 0.0) - clock.epoch_s() <= RECHECK_S
    after = claims.peek(ledger)
    assert after is not None
    assert after.name == "baseline"
    assert Admission(CUDA, feature_dir).admit(ledger, after, ROOM, gpu=holding(blender=9.0))
    assert admits(ledger, feature_dir, holding())


def test_it_starts_beside_them_when_that_is_what_the_user_wants(ledger: Ledger, feature_dir: Path) -> None:
    """And its story says so."""
    assert admits(ledger, feature_dir, holding(blender=9.0, llama=2.0), shares_gpu=True)
    assert told(ledger) == [
        ("gpu", "starts beside others on the GPU: blender (process 4711): 9.0 GiB, llama (process 4712): 2.0 GiB")
    ]


@pytest.mark.parametrize(
    ("gib", "least_mib", "starts"),
    [({"a": 0.3}, 500.0, True), ({"a": 0.3, "b": 0.3}, 500.0, False), ({"a": 0.3}, 100.0, False), ({}, 0.0, True)],
)
def test_only_what_they_hold_in_all_counts(
    ledger: Ledger, feature_dir: Path, gib: dict[str, float], least_mib: float, starts: bool
) -> None:
    assert admits(ledger, feature_dir, holding(**gib), foreign_gpu_mib=least_mib) is starts


def test_an_unknown_part_counts_and_many_are_summed_up(ledger: Ledger, feature_dir: Path) -> None:
    """What cannot be read is no proof of room."""
    unknown = GpuReading(clock.boot_s(), "NVML", others=("a program (process 9): an unknown part",), others_mib=None)
    assert not admits(ledger, feature_dir, unknown)
    assert "an unknown part" in (told(ledger)[0][1] or "")


def test_the_card_is_looked_at_before_the_first_claim_and_after_each_trainer(ledger: Ledger, feature_dir: Path) -> None:
    """A reading from before would show nothing, or the last trainer itself."""
    assert not admits(ledger, feature_dir, Unknown(NOT_ASKED, 0.0))
    assert admits(ledger, feature_dir, Unknown("there is no NVIDIA driver", 1.0))
    admission, before = Admission(CUDA, feature_dir), holding(python=20.0)
    admission.trainer_ended()
    job = queries.find_job(ledger, "net")
    memory = MemoryReading(clock.boot_s() + 60.0, "a test", level=PressureLevel.NORMAL, available_mib=50_000.0)
    assert not admission.admit(ledger, job, memory, gpu=before)
    assert told(ledger) == [], "it is looked at again, not waited for"
    assert admission.admit(ledger, job, memory, gpu=holding())


def test_a_machine_that_trains_on_its_processor_does_not_care(ledger: Ledger, feature_dir: Path) -> None:
    assert admits(ledger, feature_dir, holding(blender=9.0), PROFILES["linux-cpu"].fitted(100_000))
