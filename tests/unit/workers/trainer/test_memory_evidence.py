"""What counts as evidence that memory was short: measured things only."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cbi_queue.readings.values import MemoryReading, PressureLevel, Unknown
from workers.trainer.memory_evidence import KillRecords, evidence_of_shortage

if TYPE_CHECKING:
    from pathlib import Path

ROOMY = MemoryReading(0.0, "x", level=PressureLevel.NORMAL, total_mib=16384.0, available_mib=9000.0)


@pytest.mark.parametrize(
    ("text", "after", "words"),
    [
        ("low 0\noom 0\noom_kill 0\n", "low 0\noom 2\noom_kill 2\n", "its control group"),
        ("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n", "oom_kill_disable 0\nunder_oom 0\noom_kill 4\n", "killed 1"),
    ],
)
def test_a_kill_that_the_kernel_counted_is_evidence(tmp_path: Path, text: str, after: str, words: str) -> None:
    file = tmp_path / "memory.events"
    file.write_text(text)
    records = KillRecords([file, tmp_path / "absent"])
    assert records.increased() is None

    file.write_text(after)
    assert words in (evidence_of_shortage(records, ROOMY, None, None) or "")


def test_the_machine_s_own_counter_is_named_as_such(tmp_path: Path) -> None:
    file = tmp_path / "vmstat"
    file.write_text("pgfault 1\noom_kill 7\n")
    records = KillRecords([file])
    file.write_text("pgfault 9\noom_kill 8\n")
    assert "the machine ran out" in (records.increased() or "")


@pytest.mark.parametrize(
    ("memory", "footprint_mib", "limit_mib", "words"),
    [
        (MemoryReading(0.0, "x", level=PressureLevel.CRITICAL), None, None, "critical"),
        (MemoryReading(0.0, "x", total_mib=16384.0, available_mib=200.0), None, None, "1.2%"),
        (ROOMY, 9500.0, 10000.0, "held 9500 MiB"),
        (Unknown("no sensor", 0.0), 9500.0, 10000.0, "held 9500 MiB"),
    ],
)
def test_shortage_that_was_measured_is_evidence(
    memory: MemoryReading | Unknown, footprint_mib: float | None, limit_mib: float | None, words: str
) -> None:
    assert words in (evidence_of_shortage(KillRecords([]), memory, footprint_mib, limit_mib) or "")


@pytest.mark.parametrize(
    ("memory", "footprint_mib", "limit_mib"),
    [
        (ROOMY, 5000.0, 10000.0),
        (ROOMY, None, 10000.0),
        (ROOMY, 9500.0, None),
        (Unknown("no sensor", 0.0), None, None),
        (MemoryReading(0.0, "x", level=PressureLevel.WARN), None, None),
    ],
)
def test_what_was_not_measured_as_short_blames_nothing(
    memory: MemoryReading | Unknown, footprint_mib: float | None, limit_mib: float | None
) -> None:
    assert evidence_of_shortage(KillRecords([]), memory, footprint_mib, limit_mib) is None
