"""Cold baselines and cold probes in a real ledger."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from cbi_queue import clock
from cbi_queue.governor.values import Baseline
from cbi_queue.ledger import Ledger
from cbi_queue.ledger.learned import baselines_of, cold_probe, is_probed, store_baselines, store_probe

COLD = Baseline(0.001, 0.02, 50, 0.0009)


def test_baselines_come_back_as_they_were_stored(ledger):
    learned = {32: COLD, 16: Baseline(0.0012, 0.01, 20), None: Baseline(0.5, 0.0, 16)}
    store_baselines(ledger, "lstm/1w/cpu", learned)
    assert baselines_of(ledger, "lstm/1w/cpu") == learned


def test_another_fingerprint_has_no_baseline(ledger):
    """What an LSTM costs says nothing of a GRU."""
    store_baselines(ledger, "lstm", {32: COLD})
    assert baselines_of(ledger, "gru") == {}


def test_storing_replaces_one_micro_batch_and_leaves_the_others(ledger):
    store_baselines(ledger, "lstm", {32: COLD, 16: COLD})
    faster = Baseline(0.0008, 0.01, 80)
    store_baselines(ledger, "lstm", {32: faster})
    assert baselines_of(ledger, "lstm") == {32: faster, 16: COLD}


def instants(ledger):
    return [row["updated_at"] for row in ledger.conn.execute("SELECT updated_at FROM baselines ORDER BY micro_batch")]


def test_a_baseline_that_a_run_did_not_move_keeps_its_instant(ledger, monkeypatch):
    """A run that was slow throughout hands back what it began with, and has confirmed nothing."""
    monkeypatch.setattr(clock, "epoch_s", lambda: 1000.0)
    store_baselines(ledger, "lstm", {16: COLD, 32: COLD})
    monkeypatch.setattr(clock, "epoch_s", lambda: 2000.0)
    store_baselines(ledger, "lstm", {16: COLD, 32: replace(COLD, reports=60)})
    assert instants(ledger) == [1000.0, 2000.0]


def test_what_was_forgotten_while_a_run_went_on_is_not_stored_again(ledger):
    """The run was held against it to its end; what it learned is the old level once more."""
    store_baselines(ledger, "lstm", {16: COLD, 32: COLD})
    began_with = baselines_of(ledger, "lstm")
    ledger.conn.execute("DELETE FROM baselines")

    assert not store_baselines(ledger, "lstm", {16: COLD, 32: replace(COLD, reports=60)}, began_with=began_with)

    assert baselines_of(ledger, "lstm") == {}
    assert store_baselines(ledger, "lstm", {32: COLD}, began_with={})
    assert baselines_of(ledger, "lstm") == {32: COLD}


def test_baselines_outlive_the_connection(ledger_path):
    with Ledger.open(ledger_path) as first:
        store_baselines(first, "lstm", {32: COLD})
    with Ledger.open_readonly(ledger_path) as second:
        assert baselines_of(second, "lstm") == {32: COLD}


def test_a_probe_that_was_never_measured_is_unknown(ledger):
    assert cold_probe(ledger, "cpu", "matmul-1") is None


def test_a_device_is_probed_once_any_workload_was(ledger):
    store_probe(ledger, "cpu", "matmul-1", 0.30)
    assert (is_probed(ledger, "cpu"), is_probed(ledger, "cuda")) == (True, False)


def test_a_faster_probe_is_the_cold_one_at_once(ledger):
    store_probe(ledger, "cpu", "matmul-1", 0.30)
    assert store_probe(ledger, "cpu", "matmul-1", 0.20) == pytest.approx(0.20)
    assert cold_probe(ledger, "cpu", "matmul-1") == pytest.approx(0.20)


def test_a_hot_probe_never_becomes_the_cold_one(ledger):
    """Probes run on suspicion, when the machine is most likely hot."""
    store_probe(ledger, "cpu", "matmul-1", 0.20)
    for _ in range(500):
        store_probe(ledger, "cpu", "matmul-1", 0.26)
    assert cold_probe(ledger, "cpu", "matmul-1") == pytest.approx(0.20)


def test_a_single_lucky_probe_is_forgotten_in_time(ledger):
    store_probe(ledger, "cpu", "matmul-1", 0.19)
    assert store_probe(ledger, "cpu", "matmul-1", 0.20) == pytest.approx(0.19 * 1.01)
    for _ in range(10):
        store_probe(ledger, "cpu", "matmul-1", 0.20)
    assert cold_probe(ledger, "cpu", "matmul-1") == pytest.approx(0.20)


def test_probes_are_kept_by_device_and_workload(ledger):
    store_probe(ledger, "cpu", "matmul-1", 0.20)
    store_probe(ledger, "mps", "matmul-1", 0.02)
    store_probe(ledger, "cpu", "matmul-2", 0.90)
    assert cold_probe(ledger, "cpu", "matmul-1") == pytest.approx(0.20)


@pytest.mark.parametrize("wall_s", [0.0, -1.0, math.nan, math.inf])
def test_a_probe_that_took_no_time_is_refused(ledger, wall_s):
    with pytest.raises(ValueError, match="a probe of 'matmul-1' on 'cpu' cannot take"):
        store_probe(ledger, "cpu", "matmul-1", wall_s)
    assert cold_probe(ledger, "cpu", "matmul-1") is None
