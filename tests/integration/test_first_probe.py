"""When the first run of its kind is probed: at once on a device that never was, later elsewhere, and never while slow."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.scripted_slot import CAN, ScriptedSlot

from cbi_queue.governor.values import Baseline
from cbi_queue.ledger.learned import store_baselines, store_probe
from cbi_queue.protocol import Started
from cbi_queue.readings.values import HeatLevel
from workers.governor.attempt_governor import FIRST_PROBE_AFTER_S

if TYPE_CHECKING:
    from collections.abc import Callable

NEW = Started(total_epochs=1000, samples=1000, fingerprint="new", micro_batch=32, can=CAN)
WAIT_S = int(FIRST_PROBE_AFTER_S)


@pytest.fixture
def probed(slot: ScriptedSlot) -> ScriptedSlot:
    """A slot on whose processor another workload was probed."""
    store_probe(slot.ledger, "cpu", "matmul-1", 0.5)
    return slot


def probes(slot: ScriptedSlot) -> int:
    return len(slot.trainer.named("probe"))


@pytest.mark.parametrize(("mode", "asked"), [("on", 1), ("watch", 0), ("off", 0)])
def test_only_a_governor_that_acts_asks_for_a_probe(
    make_slot: Callable[[str], ScriptedSlot], mode: str, asked: int
) -> None:
    """Watching touches nothing, and a probe takes time from the training."""
    slot = make_slot(mode)
    attempt_governor = slot.attempt_governor(NEW)
    assert probes(slot) == asked, "the device was never probed"
    slot.check(attempt_governor, 2 * WAIT_S)
    assert probes(slot) == asked


def test_a_short_job_on_a_probed_device_is_not_probed(probed: ScriptedSlot) -> None:
    """A probe at the start of every job took a tenth of the mini week."""
    probed.check(probed.attempt_governor(NEW), WAIT_S - 1)
    assert probes(probed) == 0


def test_a_longer_one_is_probed_once(probed: ScriptedSlot) -> None:
    probed.check(probed.attempt_governor(NEW), 10 * WAIT_S)
    assert probes(probed) == 1


def test_another_device_is_probed_at_once(slot: ScriptedSlot) -> None:
    store_probe(slot.ledger, "cuda", "matmul-1", 0.02)
    slot.attempt_governor(NEW)
    assert probes(slot) == 1


def test_a_kind_whose_cold_cost_is_known_is_not_probed(probed: ScriptedSlot) -> None:
    store_baselines(probed.ledger, "new", {32: Baseline(0.001, 0.02, 50, 0.0009)})
    probed.check(probed.attempt_governor(NEW), 2 * WAIT_S)
    assert probes(probed) == 0


def test_it_waits_while_the_trainer_is_paced(probed: ScriptedSlot) -> None:
    """The first probe of a workload is what later ones are compared with."""
    attempt_governor = probed.attempt_governor(NEW)
    probed.check(attempt_governor, WAIT_S - 2)
    probed.heat(HeatLevel.HEAVY)
    probed.check(attempt_governor, 4)
    assert probed.trainer.named("pace") == [0.7]
    assert probes(probed) == 0
