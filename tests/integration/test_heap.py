"""A trainer's heap: what training frees stays at hand for the next step, and goes back to the machine on pause."""

from __future__ import annotations

import json
import platform
import subprocess
import sys

import pytest

from workers.trainer.environment import KEEP_FREED, trainer_environment

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's heap is set up this way")

STEPS, BLOCKS, BLOCK_MIB = 10, 16, 4
TRAINER = f"""
import json, resource
import psutil
from jobs.process.heap import give_back

def faults(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def held(): return psutil.Process().memory_info().rss / 2**20
def step(): return [bytearray({BLOCK_MIB} << 20) for _ in range({BLOCKS})] and None

step()
before = faults()
for _ in range({STEPS}): step()
told = {{"faults": faults() - before, "kept_mib": held()}}
give_back()
print(json.dumps({{**told, "left_mib": held()}}))
"""


def _trained(environment: dict[str, str]) -> dict[str, float]:
    command = [sys.executable, "-c", TRAINER]
    return json.loads(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)


def test_steps_reuse_what_earlier_ones_freed_and_a_pause_gives_it_back() -> None:
    """By page faults and resident memory of real processes: with the trainer's environment and without."""
    ours = _trained(trainer_environment(1))
    plain = _trained({name: value for name, value in trainer_environment(1).items() if name not in KEEP_FREED})
    pages_of_a_step = BLOCKS * (BLOCK_MIB << 20) / 4096
    assert plain["faults"] > STEPS * pages_of_a_step / 2, "glibc keeps large blocks by itself: the settings can go"
    assert ours["faults"] < pages_of_a_step
    assert ours["kept_mib"] - ours["left_mib"] > BLOCKS * BLOCK_MIB / 2


def test_what_the_user_set_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody who tunes their heap knows why."""
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "131072")
    assert trainer_environment(1)["MALLOC_TRIM_THRESHOLD_"] == "131072"
