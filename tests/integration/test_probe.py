"""`jobs.torch_backend.probe`: equal work every time, and nothing of a training is changed by it."""

from __future__ import annotations

import pytest
import torch

from jobs.torch_backend.probe import WORKLOADS, probe
from jobs.training.probe import PARTS

pytestmark = pytest.mark.slow
CPU = torch.device("cpu")


def test_the_probe_names_its_device_and_workload_and_reports_its_fastest_part():
    probed = probe(CPU)
    assert (probed.device, probed.workload) == ("cpu", WORKLOADS["cpu"].name)
    assert 0 < probed.wall_s * PARTS <= probed.total_s
    assert probed.cpu_s > 0


def test_the_probe_draws_nothing_and_leaves_settings_alone():
    threads, grad = torch.get_num_threads(), torch.is_grad_enabled()
    before = torch.get_rng_state()
    probe(CPU)
    assert torch.equal(torch.get_rng_state(), before)
    assert (torch.get_num_threads(), torch.is_grad_enabled()) == (threads, grad)


def test_devices_that_are_sized_differently_are_never_compared():
    assert len({workload.name for workload in WORKLOADS.values()}) == len(WORKLOADS)
