"""`jobs.torch_backend.parity` and `jobs.nets.parity`: a device is used only when it computes what the CPU computes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from jobs.families.recurrent import RecurrentNet
from jobs.torch_backend.device import HIGH, LOW, mps_ceilings
from jobs.torch_backend.parity import passes_on, placed
from jobs.torch_backend.precision import Precision


@pytest.fixture
def sample():
    """A small net, a batch of windows and their labels."""
    torch.manual_seed(0)
    return RecurrentNet(3, "gru", 2, 8, 0.3), torch.randn(8, 16, 3), torch.randn(8)


def pretend(spoil):
    """A device called mps that computes as the CPU does, and whose result is then spoiled."""

    def compute(model, windows, target, device, precision):
        result = passes_on(model, windows, target, "cpu", "float32")
        return result if device == "cpu" else spoil(result, precision)

    return compute


def place(sample, spoil, precision="float32"):
    return placed(*sample, ("mps", "cpu"), precision, is_present=lambda _name: True, compute=pretend(spoil))


def test_a_device_that_computes_the_same_is_used(sample):
    placement = place(sample, lambda result, _precision: result)
    assert (placement.device, placement.precision, placement.refusals) == ("mps", "float32", ())


@pytest.mark.parametrize(
    "spoil",
    [
        lambda result, _: result._replace(gradient=result.gradient * 1.05),
        lambda result, _: result._replace(gradient=result.gradient[::-1]),
        lambda result, _: result._replace(loss=result.loss * 0.9),
        lambda result, _: result._replace(loss=float("nan")),
        lambda result, _: result._replace(gradient=result.gradient * float("nan")),
    ],
)
def test_a_device_that_is_off_is_refused_with_the_figures(sample, spoil):
    """A result that is not a number is the worst of them and must not slip through a comparison."""
    placement = place(sample, spoil)
    assert placement.device == "cpu"
    (refusal,) = placement.refusals
    assert "mps in float32" in refusal
    assert "0.01 is allowed" in refusal


def test_a_device_that_fails_is_refused_with_its_words(sample):
    def fail(_result, _precision):
        msg = "The operator 'aten::_thnn_fused_gru_cell' is not currently implemented for the MPS device"
        raise NotImplementedError(msg)

    placement = place(sample, fail)
    assert placement.device == "cpu"
    assert "aten::_thnn_fused_gru_cell" in placement.refusals[0]


def test_a_device_that_is_off_in_half_precision_only_is_used_in_float32(sample):
    def spoil(result, precision):
        return result._replace(loss=result.loss * 2) if precision == "float16" else result

    placement = place(sample, spoil, "float16")
    assert (placement.device, placement.precision) == ("mps", "float32")
    assert "mps in float16" in placement.refusals[0]


def test_a_device_that_is_not_there_is_passed_over_without_a_word(sample):
    placement = placed(*sample, ("mps", "cuda", "cpu"), "float16", is_present=lambda _name: False)
    assert (placement.device, placement.precision, placement.refusals) == ("cpu", "float32", ())


def test_the_comparison_leaves_net_and_random_numbers_as_they_were(sample):
    """A run on a machine with a GPU that is refused must end with the bits of one on a machine without."""
    before, weights = torch.get_rng_state(), [weight.clone() for weight in sample[0].parameters()]
    place(sample, lambda result, _precision: result)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(old, new) for old, new in zip(weights, sample[0].parameters(), strict=True))
    assert all(weight.grad is None for weight in sample[0].parameters())


def relative(there, here):
    return np.linalg.norm(there.gradient - here.gradient) / np.linalg.norm(here.gradient)


def test_half_precision_is_within_its_tolerance_on_a_sound_device(sample):
    """The real arithmetic of autocast, scaled gradients included, against float32."""
    for name, allowed in (("bfloat16", 0.15), ("float16", 0.15)):
        here, there = passes_on(*sample, "cpu", "float32"), passes_on(*sample, "cpu", name)
        error = relative(there, here)
        assert 0 < error < allowed


def test_errors_to_one_side_do_not_refuse_half_precision(sample):
    """Consecutive days err together: at the first loss scale their sum is out of float16's range, and training continues."""
    model, windows, _ = sample
    beside = torch.full((8,), 3.0)
    first_scale = Precision("float16").scaler.get_scale()
    here, there = (
        passes_on(model, windows, beside, "cpu", "float32"),
        passes_on(model, windows, beside, "cpu", "float16"),
    )
    assert np.abs(here.gradient).max() * first_scale > torch.finfo(torch.float16).max
    assert 0 < relative(there, here) < 0.15


def test_an_overflow_at_any_scale_is_a_result_and_not_a_hang(sample):
    """Labels that no scale can save: the device is refused with the figures."""
    model, windows, _ = sample
    there = passes_on(model, windows, torch.full((8,), 1e30), "cpu", "float16")
    assert not np.isfinite(there.gradient).all()


def test_an_unknown_precision_is_refused_with_those_allowed():
    with pytest.raises(ValueError, match="allowed: float32, bfloat16, float16, float64"):
        Precision("int8")


def test_a_device_whose_loss_scale_zeroes_gradients_is_not_used_in_half_precision(sample, monkeypatch):
    """As Metal did until 2026 (pytorch#184286): the passes agree, and training would stand still."""

    def zeroed(scaler, optimiser):
        for group in optimiser.param_groups:
            for weight in group["params"]:
                weight.grad.zero_()

    def compute(model, windows, target, device, precision):
        return passes_on(model, windows, target, "cpu", precision)

    monkeypatch.setattr(torch.amp.GradScaler, "unscale_", zeroed)
    placement = placed(*sample, ("mps", "cpu"), "float16", is_present=lambda _name: True, compute=compute)
    assert (placement.device, placement.precision) == ("mps", "float32")
    assert "gradient by 1 of the CPU's" in placement.refusals[0]


@pytest.mark.parametrize(
    ("of_user", "low"),
    [({}, "0.6"), ({HIGH: "0.5"}, "0.5"), ({HIGH: "0.9"}, "0.6"), ({HIGH: "0"}, "0.6"), ({HIGH: "0.0"}, "0.6"),
     ({LOW: "0.3"}, "0.3"), ({HIGH: "much"}, "0.6")],
)  # fmt: skip
def test_the_low_ceiling_is_never_above_a_high_one_of_the_user(of_user, low):
    """Torch refuses to start there, and the job would silently train on the CPU."""
    ceilings = mps_ceilings(of_user)
    assert ceilings == {HIGH: of_user.get(HIGH, "0.8"), LOW: low}
